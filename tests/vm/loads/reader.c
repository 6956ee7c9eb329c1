/*
 * Reads a mapped file of the disk again and again, 64 KiB at a time.
 *
 *   reader [-r] [-p RATE] FILE MIB [SECONDS]
 *
 * The file's first MIB, for SECONDS or for ever; -r in random order, -p at RATE
 * MiB/s at most.
 */
#include "lab.h"

#define BLOCK (64 * 1024L)

int main(int argc, char **argv)
{
	int option, random = 0;
	long rate = 0;

	while ((option = getopt(argc, argv, "rp:")) != -1)
		if (option == 'r')
			random = 1;
		else if (option == 'p')
			rate = atol(optarg) * (MIB / BLOCK);
	if (optind + 2 > argc)
		return 2;
	size_t size = atol(argv[optind + 1]) * MIB, blocks = size / BLOCK;
	const char *file = map_file(argv[optind], size);
	long long due = now_us(), told = due;
	long long end = optind + 2 < argc ? due + atol(argv[optind + 2]) * 1000000 : 0;

	for (size_t i = 0;; i++) {
		/* In order at first, so that all of it is there once. */
		size_t block = random && i > blocks ? noise() % blocks : i % blocks;
		read_pages(file + block * BLOCK, BLOCK);
		/* It does something with what it read. */
		if (i % 16 == 0)
			usleep(1000);
		pace(&due, rate);
		long long t = now_us();
		if (end && t > end)
			return 0;
		if (i == blocks)
			ready();
		else if (i > blocks && i % blocks == 0 && t - told > 1000000) {
			say("has read the file %zu times\n", i / blocks);
			told = t;
		}
	}
}
