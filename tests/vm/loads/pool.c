/*
 * A server with workers that warm up, of which one then leaks. Its innocent workers
 * must live: it ends if it loses one of them.
 *
 *   pool [-a ADJ] NUMBER WARM RATE
 *
 * NUMBER of workers, each of which warms up to WARM MiB within a second and uses it
 * from then on. One of them goes on and leaks at RATE MiB/s; with 0 none does, and the
 * server is ready once they are warm. -a sets the workers' oom_score_adj.
 */
#include "lab.h"

static void worker(long warm, long rate)
{
	long long due = now_us();

	if (!rate)
		close(CULPRIT_FD);
	char *all = memory(warm * MIB);
	for (long i = 0; i < warm; i++) {
		fill(all + i * MIB, MIB);
		pace(&due, warm);
	}
	if (rate)
		say("pid %d begins to leak\n", getpid());
	for (long leaked = 0;;) {
		write_pages(all, warm * MIB);
		if (rate)
			leak_more(&leaked);
		pace(&due, rate ? rate : 2);
	}
}

int main(int argc, char **argv)
{
	const char *adj = NULL;
	int option;
	pid_t leak = 0, child;

	while ((option = getopt(argc, argv, "a:")) != -1)
		if (option == 'a')
			adj = optarg;
	if (optind + 3 > argc)
		return 2;
	int number = atoi(argv[optind]);
	long rate = atol(argv[optind + 2]);
	for (int i = 0; i < number; i++) {
		/* In the middle: neither the oldest nor the youngest. */
		int leaks = rate && i == number / 2;
		child = fork();
		if (child == 0) {
			if (adj) {
				int file = open("/proc/self/oom_score_adj", O_WRONLY);
				if (write(file, adj, strlen(adj)) < 0)
					perror("oom_score_adj");
				close(file);
			}
			worker(atol(argv[optind + 1]), leaks ? rate : 0);
		}
		if (leaks)
			leak = child;
	}
	if (rate) {
		close(CULPRIT_FD);
	} else {
		usleep(1200000);
		ready();
	}
	return outlive(leak, "worker");
}
