/*
 * A build: so many compilers at a time, each of which lives for most of a second and
 * takes more memory as long as it lives. One balloons. It ends if it loses another one.
 *
 *   build JOBS RATE
 *
 * JOBS compilers at a time, of up to 12 MiB; the one that balloons takes RATE MiB/s.
 */
#include "lab.h"
#include <sys/prctl.h>

#define OF_ONE 12

static void compiler(long rate)
{
	long long due = now_us();

	prctl(PR_SET_NAME, "cc1plus");
	if (!rate)
		close(CULPRIT_FD);
	else
		say("pid %d balloons\n", getpid());
	for (long i = 0; rate || i < OF_ONE; i++) {
		fill(memory(MIB), MIB);
		if (rate && (i + 1) % 32 == 0)
			say("pid %d has %ld MiB\n", getpid(), i + 1);
		pace(&due, rate ? rate : 14);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t balloon = 0, child;
	int status, lost = 0;

	if (argc != 3)
		return 2;
	int jobs = atoi(argv[1]);
	for (int started = 0, running = 0;;) {
		for (; running < jobs && !lost; running++) {
			int balloons = ++started == jobs + 3;
			child = fork();
			if (child == 0)
				compiler(balloons ? atol(argv[2]) : 0);
			if (balloons) {
				balloon = child;
				close(CULPRIT_FD);
			}
			/* As they come to an end one after the other. */
			if (started <= jobs)
				usleep(100000);
		}
		child = wait(&status);
		if (child < 0)
			return 1;
		running--;
		if (child == balloon) {
			say("the compiler that balloons, pid %d, has ended\n", child);
		} else if (WIFSIGNALED(status)) {
			say("an innocent compiler, pid %d, was killed\n", child);
			if (!lost++)
				alarm(1);
		}
	}
}
