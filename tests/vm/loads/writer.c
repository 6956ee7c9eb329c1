/*
 * Writes a file with write(2), an ordinary copy or logger gone wrong.
 *
 *   writer RATE FILE        at RATE MiB/s
 */
#include "lab.h"

#define CHUNK (MIB / 4)

int main(int argc, char **argv)
{
	static char chunk[CHUNK];
	int file = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT, 0644) : -1;

	if (file < 0) {
		perror("writer");
		return 2;
	}
	fill(chunk, CHUNK);
	long long due = now_us();
	for (long i = 1;; i++) {
		if (write(file, chunk, CHUNK) < 0) {
			perror("write");
			return 1;
		}
		if (i % 128 == 0)
			say("has written %ld MiB\n", i / 4);
		pace(&due, 4 * atol(argv[1]));
	}
}
