/*
 * An innocent proxy: passes much through sockets, and has its log open on a tmpfs.
 *
 *   proxy RATE FILE      RATE MiB/s; FILE is the log, of 256 KiB
 */
#include "lab.h"
#include <sys/socket.h>

#define CHUNK (MIB / 16)

int main(int argc, char **argv)
{
	static char chunk[CHUNK];
	int ends[2];
	long long due;

	int file = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
	if (file < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
		perror("proxy");
		return 2;
	}
	fill(chunk, CHUNK);
	for (int i = 0; i < 4; i++)
		if (write(file, chunk, CHUNK) < 0)
			perror(argv[2]);
	ready();
	due = now_us();
	for (;;) {
		ssize_t sent = write(ends[0], chunk, CHUNK);
		while (sent > 0) {
			ssize_t got = read(ends[1], chunk, CHUNK);
			if (got <= 0)
				return 1;
			sent -= got;
		}
		pace(&due, 16 * atol(argv[1]));
	}
}
