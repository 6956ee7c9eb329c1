/*
 * Starts a program many times over, all at once, and stays.
 *
 *   swarm [-o | -d] NUMBER PROGRAM [ARGUMENT...]
 *
 * With -o it ends, so that process 1 becomes their parent. With -d it does that, too,
 * and gives each a session and a name of its own: PROGRAM with a number after it.
 */
#include "lab.h"

int main(int argc, char **argv)
{
	int option, orphans = 0, strangers = 0;

	/* The options from PROGRAM on are its own. */
	while ((option = getopt(argc, argv, "+od")) != -1) {
		if (option == 'o' || option == 'd')
			orphans = 1;
		if (option == 'd')
			strangers = 1;
	}
	if (optind + 2 > argc)
		return 2;
	for (int i = 0; i < atoi(argv[optind]); i++)
		if (fork() == 0) {
			char name[64], **words = argv + optind + 1;
			if (strangers) {
				setsid();
				snprintf(name, sizeof name, "%s%d", words[0], i);
				words[0] = name;
			}
			execvp(words[0], words);
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
