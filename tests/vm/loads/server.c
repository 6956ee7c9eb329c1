/*
 * A server with workers, forked and not started anew: one name, one parent, one
 * process group. They warm up, and then one of them leaks.
 *
 *   server [-a ADJ] [-n NAME] WORKERS MIB RATE
 *
 * Each worker holds MIB and uses all of it once a second; the leaking one grows by
 * RATE MiB/s. With -a the workers have that oom_score_adj, with -n that name. Only
 * the leaking worker is the culprit: the server ends, with a complaint, when any
 * other worker does.
 */
#include "lab.h"
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	int option, warm[2], go[2];
	const char *adj = NULL, *name = NULL;
	char byte;

	while ((option = getopt(argc, argv, "a:n:")) != -1)
		if (option == 'a')
			adj = optarg;
		else if (option == 'n')
			name = optarg;
	if (optind + 3 > argc || pipe(warm) < 0 || pipe(go) < 0)
		return 2;
	int workers = atoi(argv[optind]), bad = workers / 2;
	size_t size = atol(argv[optind + 1]) * MIB;
	long rate = atol(argv[optind + 2]);
	pid_t leaking = 0;

	for (int i = 0; i < workers; i++) {
		pid_t child = fork();
		if (i == bad)
			leaking = child;
		if (child != 0)
			continue;
		if (i != bad)
			close(CULPRIT_FD);
		if (name)
			prctl(PR_SET_NAME, name);
		if (adj) {
			int file = open("/proc/self/oom_score_adj", O_WRONLY);
			if (write(file, adj, strlen(adj)) < 0)
				perror("oom_score_adj");
			close(file);
		}
		char *own = memory(size);
		fill(own, size);
		if (write(warm[1], "w", 1) < 0)
			return 1;
		if (i != bad)
			for (;;) {
				usleep(1000000);
				write_pages(own, size);
			}
		if (read(go[0], &byte, 1) < 0)
			return 1;
		say("worker %d leaks\n", getpid());
		for (long long due = now_us();;) {
			fill(memory(MIB), MIB);
			pace(&due, rate);
		}
	}
	close(CULPRIT_FD);
	for (int i = 0; i < workers; i++)
		if (read(warm[0], &byte, 1) < 0)
			return 1;
	say("%d workers are warm\n", workers);
	usleep(300000);
	if (write(go[1], "g", 1) < 0)
		return 1;
	for (;;) {
		pid_t ended = wait(NULL);
		if (ended == leaking)
			continue;
		if (ended > 0) {
			say("lost worker %d\n", ended);
			return 1;
		}
		pause();
	}
}
