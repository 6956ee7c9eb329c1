/*
 * Fills buffers of the kernel that nobody empties, and keeps them.
 *
 *   buffers pipe|socket NUMBER RATE      NUMBER of pairs, RATE a second
 *
 * What is in them is memory of the kernel: no process is seen to hold it.
 */
#include "lab.h"
#include <sys/resource.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	static char chunk[4096];
	long long due = now_us(), sent = 0;
	struct rlimit files = { 100000, 100000 };

	if (argc != 4)
		return 2;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		perror("setrlimit");
	fill(chunk, sizeof chunk);
	for (long i = 1; i <= atol(argv[2]); i++) {
		int ends[2];
		ssize_t got;
		if ((strcmp(argv[1], "pipe") == 0
			     ? pipe(ends)
			     : socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) < 0) {
			perror(argv[1]);
			break;
		}
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
		while ((got = write(ends[1], chunk, sizeof chunk)) > 0)
			sent += got;
		if (i % 250 == 0)
			say("%ld hold %lld MiB\n", i, sent / MIB);
		pace(&due, atol(argv[3]));
	}
	say("all hold %lld MiB\n", sent / MIB);
	for (;;)
		pause();
}
