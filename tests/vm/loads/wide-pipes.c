/*
 * Fills a few large buffers of the kernel that nobody empties: pipes that have been
 * made as large as an ordinary user may, 1 MiB, or, called two-way-sockets, the
 * buffers of pairs of unix sockets, both ways.
 *
 *   wide-pipes RATE NUMBER  NUMBER of them at most, RATE a second
 */
#define _GNU_SOURCE
#include "lab.h"
#include <sys/resource.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	static char chunk[16 * PAGE];
	int sockets = strcmp(argv[0], "two-way-sockets") == 0;
	long rate = argc > 1 ? atol(argv[1]) : 800, number = argc > 2 ? atol(argv[2]) : 6000;
	struct rlimit files = { 2 * number + 64, 2 * number + 64 };
	long long all = 0, due = now_us();

	if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
		perror("setrlimit");
		return 2;
	}
	fill(chunk, sizeof chunk);
	for (long i = 1; i <= number; i++) {
		int ends[2];
		ssize_t wrote;
		if (sockets ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)
			    : pipe2(ends, O_NONBLOCK)) {
			perror(argv[0]);
			break;
		}
		if (!sockets && fcntl(ends[1], F_SETPIPE_SZ, MIB) < 0)
			perror("F_SETPIPE_SZ");
		for (int end = sockets ? 0 : 1; end < 2; end++)
			while ((wrote = write(ends[end], chunk, sizeof chunk)) > 0)
				all += wrote;
		if (i % (rate / 2) == 0)
			say("has filled %ld with %lld MiB\n", i, all / MIB);
		pace(&due, rate);
	}
	say("is full with %lld MiB\n", all / MIB);
	for (;;)
		pause();
}
