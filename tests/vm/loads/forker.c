/*
 * Forks tiny processes that stay, as fast as it can.
 *
 *   forker NUMBER KIB       NUMBER at most, KIB of memory touched by each
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long number = argc > 1 ? atol(argv[1]) : 3000;
	long size = (argc > 2 ? atol(argv[2]) : 16) * 1024;

	for (long i = 1; i <= number; i++) {
		pid_t child = fork();
		if (child == 0) {
			write_pages(memory(size), size);
			for (;;)
				pause();
		}
		/* Out of memory or of pids is no reason to stop trying. */
		if (child < 0)
			usleep(1000);
		if (i % 250 == 0)
			say("has forked %ld\n", i);
	}
	for (;;)
		pause();
}
