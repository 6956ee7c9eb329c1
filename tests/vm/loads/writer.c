/*
 * Writes a file, an ordinary copy or logger gone wrong.
 *
 *   writer [-p | -m | -f] RATE FILE
 *
 * At RATE MiB/s, with write(2); -p with pwrite(2), which does not move the file's
 * position, -m through a shared mapping, -f with fallocate(2), without content.
 */
#define _GNU_SOURCE
#include "lab.h"

#define CHUNK (MIB / 4)
#define MAPPED (2048 * MIB)

int main(int argc, char **argv)
{
	static char chunk[CHUNK];
	int option, how = 0;

	while ((option = getopt(argc, argv, "pmf")) != -1)
		how = option;
	int file = optind + 1 < argc ? open(argv[optind + 1], O_RDWR | O_CREAT, 0644) : -1;
	if (file < 0 || how == '?') {
		perror("writer");
		return 2;
	}
	char *mapped = NULL;
	if (how == 'm') {
		if (ftruncate(file, MAPPED) < 0)
			perror("ftruncate");
		mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		if (mapped == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
	}
	fill(chunk, CHUNK);
	long long due = now_us();
	for (long i = 1;; i++) {
		long long at = (i - 1) * CHUNK;
		int failed = 0;
		if (how == 'm')
			memcpy(mapped + at, chunk, CHUNK);
		else if (how == 'p')
			failed = pwrite(file, chunk, CHUNK, at) < 0;
		else if (how == 'f')
			failed = fallocate(file, 0, at, CHUNK) < 0;
		else
			failed = write(file, chunk, CHUNK) < 0;
		if (failed) {
			perror("write");
			return 1;
		}
		if (i % 128 == 0)
			say("has written %ld MiB\n", i / 4);
		pace(&due, 4 * atol(argv[optind]));
	}
}
