/*
 * Fills a file, an ordinary copy or logger gone wrong.
 *
 *   writer [OPTION...] RATE FILE     at RATE MiB/s, with write(2)
 *
 *   -p   with pwrite(2), which does not move the file's position
 *   -m   through a shared mapping
 *   -f   with fallocate(2), without writing anything
 *   -s   into new files beside FILE, of 600 bytes each, which are closed again,
 *        as an ordinary user
 *   -b MIB   the first MIB as fast as possible
 */
#define _GNU_SOURCE
#include "lab.h"
#include <limits.h>

#define CHUNK (MIB / 4)
/* As much as may be filled through the mapping; fewer addresses are of 32 bits. */
#define MAPPED ((LONG_MAX / MIB > 4096 ? 4096 : 1024) * MIB)

#define SMALL 600

/* Fills as many pages as a chunk has, each with a file of its own. */
static int write_small(const char *path, long chunk, const char *text)
{
	char name[PATH_MAX];

	for (int page = 0; page < CHUNK / PAGE; page++) {
		snprintf(name, sizeof name, "%s.%ld.%d", path, chunk, page);
		int file = open(name, O_WRONLY | O_CREAT, 0644);
		if (file < 0 || write(file, text, SMALL) < 0)
			return -1;
		close(file);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static char chunk[CHUNK];
	int option, how = 'w', failed = 0;
	long hurried = 0;
	char *mapped = NULL;

	while ((option = getopt(argc, argv, "pmfsb:")) != -1)
		if (option == 'b')
			hurried = 4 * atol(optarg);
		else
			how = option;
	int file = optind + 2 == argc ? open(argv[optind + 1], O_RDWR | O_CREAT, 0644) : -1;
	if (file < 0) {
		perror("writer");
		return 2;
	}
	if (how == 'm') {
		mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		if (mapped == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
	}
	if (how == 's' && become_ordinary()) {
		perror("writer");
		return 1;
	}
	fill(chunk, CHUNK);
	long long due = now_us();
	for (long i = 0;; i++) {
		switch (how) {
		case 'p': failed = pwrite(file, chunk, CHUNK, i * CHUNK) < 0; break;
		case 'f': failed = fallocate(file, 0, i * CHUNK, CHUNK) < 0; break;
		case 's': failed = write_small(argv[optind + 1], i, chunk) < 0; break;
		case 'm':
			failed = ftruncate(file, (i + 1) * CHUNK) < 0;
			memcpy(mapped + i * CHUNK, chunk, CHUNK);
			break;
		default: failed = write(file, chunk, CHUNK) < 0;
		}
		if (failed) {
			perror("writer");
			return 1;
		}
		if ((i + 1) % 128 == 0)
			say("has written %ld MiB\n", (i + 1) / 4);
		pace(&due, i < hurried ? 0 : 4 * atol(argv[optind]));
	}
}
