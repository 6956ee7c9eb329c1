/*
 * Many processes that do nothing. Ends if one of them does.
 *
 *   sleepers NUMBER
 */
#include "lab.h"

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < atoi(argv[1]); i++) {
		pid_t child = fork();
		if (child == 0)
			for (;;)
				pause();
		if (child < 0) {
			perror("fork");
			return 1;
		}
	}
	ready();
	wait(NULL);
	return 1;
}
