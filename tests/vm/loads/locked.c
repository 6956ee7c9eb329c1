/*
 * Keeps a file in memory: maps it and locks what it maps, as programs do that
 * search an index or a model. What is locked is no longer available, and is not
 * the process's anonymous memory.
 *
 *   locked RATE FILE MIB    the file's first MIB, at RATE MiB/s
 */
#include "lab.h"

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	long rate = atol(argv[1]), size = atol(argv[3]);
	const char *file = map_file(argv[2], size * MIB);
	long long due = now_us();

	for (long i = 0; i < size; i++) {
		if (mlock(file + i * MIB, MIB) < 0) {
			perror("mlock");
			return 1;
		}
		if ((i + 1) % 32 == 0)
			say("has locked %ld MiB\n", i + 1);
		pace(&due, rate);
	}
	for (;;)
		pause();
}
