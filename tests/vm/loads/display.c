/*
 * A display server, and a client of it that leaks the buffers which both have mapped.
 *
 *   display RATE            the client makes RATE buffers of 1 MiB a second
 *
 * The server lets go of all the client's buffers as soon as the client is gone. The
 * client, started as "client", ends without its server.
 */
#define _GNU_SOURCE
#include "lab.h"
#include <sys/socket.h>

#define CONNECTION 4
#define BUFFERS 4096

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

/* A message of one byte that carries a file, or room for one. */
static struct msghdr *message(union control *control)
{
	static char byte;
	static struct iovec part = { &byte, 1 };
	static struct msghdr all;

	all = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1,
			       .msg_control = control, .msg_controllen = sizeof *control };
	return &all;
}

static char *map_buffer(int file)
{
	char *got = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (got == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return got;
}

static int client(long rate)
{
	long long due = now_us();

	for (long i = 1;; i++) {
		union control control = { 0 };
		struct msghdr *all = message(&control);
		int file = memfd_create("buffer", MFD_CLOEXEC);
		if (file < 0 || ftruncate(file, MIB) < 0) {
			perror("memfd");
			return 1;
		}
		fill(map_buffer(file), MIB);
		control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
						   .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.header), &file, sizeof file);
		if (sendmsg(CONNECTION, all, MSG_NOSIGNAL) < 0) {
			perror("sendmsg");
			return 1;
		}
		close(file);
		if (i % 32 == 0)
			say("the client has made %ld MiB of buffers\n", i);
		pace(&due, rate);
	}
}

int main(int argc, char **argv)
{
	static char *buffers[BUFFERS];
	int ends[2], file;
	long count = 0;

	if (argc != 2)
		return 2;
	if (strcmp(argv[0], "client") == 0)
		return client(atol(argv[1]));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		perror("socketpair");
		return 1;
	}
	if (fork() == 0) {
		dup2(ends[1], CONNECTION);
		if (ends[1] == CONNECTION)
			fcntl(CONNECTION, F_SETFD, 0);
		execlp("client", "client", argv[1], NULL);
		perror("client");
		_exit(127);
	}
	close(ends[1]);
	/* The culprit is the client. */
	close(CULPRIT_FD);
	for (;;) {
		union control control = { 0 };
		struct msghdr *all = message(&control);
		if (count == BUFFERS || recvmsg(ends[0], all, MSG_CMSG_CLOEXEC) <= 0)
			break;
		if (all->msg_controllen < sizeof control.header)
			continue;
		memcpy(&file, CMSG_DATA(&control.header), sizeof file);
		buffers[count] = map_buffer(file);
		read_pages(buffers[count++], MIB);
		close(file);
	}
	say("the client is gone, and with it %ld buffers\n", count);
	while (count > 0)
		munmap(buffers[--count], MIB);
	for (;;)
		pause();
}
