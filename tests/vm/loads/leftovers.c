/*
 * Leaves files in memory.
 *
 *   leftovers memfds KIB RATE             RATE memfds a second, each of KIB, which stay open
 *   leftovers unpack KIB RATE DIRECTORY   RATE files a second, each of KIB, in directories of
 *                                         a hundred, as from an archive; each is closed again
 */
#define _GNU_SOURCE
#include "lab.h"
#include <sys/resource.h>
#include <sys/stat.h>

#define CHUNK 8192

/* One more file to fill, or -1. */
static int make(const char *directory, long number)
{
	char name[256];

	if (!directory)
		return memfd_create("buffer", 0);
	snprintf(name, sizeof name, "%s/%ld", directory, number / 100);
	if (number % 100 == 0)
		mkdir(name, 0755);
	snprintf(name, sizeof name, "%s/%ld/%ld", directory, number / 100, number);
	return open(name, O_WRONLY | O_CREAT, 0644);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 100000, 100000 };
	long long due = now_us();

	if (argc < 4 || (argc < 5) != (strcmp(argv[1], "memfds") == 0))
		return 2;
	long size = atol(argv[2]) * 1024, rate = atol(argv[3]), all = 0;
	const char *directory = argv[4];
	char *contents = memory(size);
	fill(contents, size);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		perror("setrlimit");
	for (long i = 0;; i++) {
		int file = make(directory, i);
		for (long at = 0, part; at < size; at += part) {
			part = size - at < CHUNK ? size - at : CHUNK;
			if (file < 0 || write(file, contents + at, part) < 0) {
				perror("leftovers");
				return 1;
			}
		}
		if (directory)
			close(file);
		all += size;
		if (all / MIB / 32 != (all - size) / MIB / 32)
			say("has left %ld MiB\n", all / MIB);
		pace(&due, rate);
	}
}
