/*
 * Restarts a program at once when it ends, and gives up after so many ends.
 *
 *   supervisor ENDS PROGRAM [ARGUMENT...]
 */
#include "lab.h"

int main(int argc, char **argv)
{
	for (int i = 0; argc > 2 && i < atoi(argv[1]); i++) {
		pid_t child = fork();
		if (child == 0) {
			execvp(argv[2], argv + 2);
			_exit(1);
		}
		waitpid(child, NULL, 0);
		say("pid %d ended\n", child);
	}
	close(CULPRIT_FD);
	for (;;)
		pause();
}
