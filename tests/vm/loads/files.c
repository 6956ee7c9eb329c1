/*
 * An ordinary user's leak that first takes all of the machine's table of open
 * files, and keeps it full.
 *
 *   files RATE
 *
 * RATE is in MiB/s. Its children have the files, and die with it.
 */
#include "lab.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CHILDREN 200

/* Opens files until there are no more for this process or, true, for anybody. */
static int is_full(void)
{
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	return errno == ENFILE;
}

/* A child that has as many files as it can; was it the last that got any? */
static int take_files(void)
{
	int ends[2];
	char full = 1;

	if (pipe(ends))
		return 1;
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		full = is_full();
		if (write(ends[1], &full, 1) != 1)
			_exit(1);
		for (;;) {
			is_full();
			usleep(1000);
		}
	}
	if (read(ends[0], &full, 1) != 1)
		full = 1;
	close(ends[0]);
	close(ends[1]);
	return full;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	if (argc != 2 || getrlimit(RLIMIT_NOFILE, &files))
		return 2;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (become_ordinary())
		return 2;
	say("pid %d starts\n", getpid());
	for (int children = 0; children < CHILDREN && !take_files(); children++)
		;
	say("the table of files is full\n");
	for (;;) {
		char *block = malloc(MIB);

		for (long at = 0; block && at < MIB; at += PAGE)
			block[at] = 1;
		usleep(1000000 / atol(argv[1]));
	}
}
