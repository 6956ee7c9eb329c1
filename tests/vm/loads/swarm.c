/*
 * Starts a program many times over, all at once, and stays.
 *
 *   swarm [-o | -d] NUMBER PROGRAM [ARGUMENT...]
 *
 * -o ends afterwards, which leaves them to process 1; -d does so and gives each a
 * session and a name of its own, PROGRAM with a number after it.
 */
#include "lab.h"

int main(int argc, char **argv)
{
	int option, how = 0;

	while ((option = getopt(argc, argv, "+od")) != -1)
		how = option;
	if (optind + 2 > argc)
		return 2;
	for (int i = 0; i < atoi(argv[optind]); i++)
		if (fork() == 0) {
			char name[64], **words = argv + optind + 1;
			if (how == 'd') {
				setsid();
				snprintf(name, sizeof name, "%s%d", words[0], i);
				words[0] = name;
			}
			execvp(words[0], words);
			_exit(1);
		}
	/* The culprit is those, not their parent. */
	close(CULPRIT_FD);
	say("process group %d\n", getpgrp());
	if (how)
		return 0;
	for (;;)
		if (wait(NULL) < 0)
			pause();
}
