/*
 * Sets an extended attribute, of which only that it is there matters.
 *
 *   mark FILE NAME
 */
#include <stdio.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: mark FILE NAME\n");
		return 2;
	}
	if (setxattr(argv[1], argv[2], "1", 1, 0) < 0) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
