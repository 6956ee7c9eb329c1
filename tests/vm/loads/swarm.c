/*
 * Starts a program many times over, all at once, and stays.
 *
 *   swarm [-o] NUMBER PROGRAM [ARGUMENT...]
 *
 * With -o it ends, so that process 1 becomes their parent.
 */
#include "lab.h"

int main(int argc, char **argv)
{
	int option, orphans = 0;

	/* The options from PROGRAM on are its own. */
	while ((option = getopt(argc, argv, "+o")) != -1)
		if (option == 'o')
			orphans = 1;
	if (optind + 2 > argc)
		return 2;
	for (int i = 0; i < atoi(argv[optind]); i++)
		if (fork() == 0) {
			execvp(argv[optind + 1], argv + optind + 1);
			_exit(1);
		}
	if (orphans)
		return 0;
	/* The culprit is those, not their parent. */
	close(CULPRIT_FD);
	for (;;)
		if (wait(NULL) < 0)
			pause();
}
