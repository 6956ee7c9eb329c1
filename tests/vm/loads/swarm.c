/*
 * Starts a program many times over and stays.
 *
 *   swarm NUMBER PROGRAM [ARGUMENT...]
 */
#include "lab.h"

int main(int argc, char **argv)
{
	for (int i = 0; argc > 2 && i < atoi(argv[1]); i++)
		if (fork() == 0) {
			execvp(argv[2], argv + 2);
			_exit(1);
		}
	/* The culprit is those, not their parent. */
	close(CULPRIT_FD);
	for (;;)
		if (wait(NULL) < 0)
			pause();
}
