/*
 * Starts a program many times over and stays.
 *
 *   swarm NUMBER PROGRAM [ARGUMENT...]
 *
 * Spread over a second: those that do something every second and all at once
 * would keep the canary from the only processor, memory or not.
 */
#include "lab.h"

int main(int argc, char **argv)
{
	for (int i = 0; argc > 2 && i < atoi(argv[1]); i++) {
		if (fork() == 0) {
			execvp(argv[2], argv + 2);
			_exit(1);
		}
		usleep(1000000 / atoi(argv[1]));
	}
	/* The culprit is those, not their parent. */
	close(CULPRIT_FD);
	for (;;)
		if (wait(NULL) < 0)
			pause();
}
