/*
 * The referee of the soak: lets one culprit after the other run a machine out of
 * memory, and looks after each at what the guard itself has taken. It is locked in
 * memory and never forks while memory is short.
 *
 *   soak KILLS RULES GUARD INNOCENT CULPRIT...
 *
 * KILLS is how many kills are to be seen, RULES which rules must have been among
 * their reasons, as "exhaustion,floor". GUARD and INNOCENT are commands, split at
 * blanks. So is a CULPRIT, behind a word that says what it needs:
 *
 *   plain   nothing
 *   swap    the swap of SWAP, taken away again afterwards
 *   cache   three innocents that READ, ended afterwards
 *   file    the file FILE, removed afterwards
 *
 * They come one after the other and again from the first. A culprit is gone when
 * all have let go of CULPRIT_FD. Then the guard is given time to settle, and its
 * memory (resident, data, locked), open files and children are noted. What the first two rounds
 * through all culprits have seen, or the first quarter of KILLS if that is less, is
 * what it may take; the rest must not see more.
 */
#include "lab.h"
#include <dirent.h>
#include <poll.h>
#include <sys/reboot.h>
#include <sys/swap.h>

#define SWAP "/dev/vdb"
#define READ "reader -r /disk/big 60"
#define READERS 3
#define FILE_WRITTEN "/run/full/file"
/* A culprit that lives longer is one that nobody ended. */
#define PATIENCE 40000000LL
#define WARM_ROUNDS 2

static const char *const rules[] = { "exhaustion", "pressure", "floor", "thrash" };
#define RULES 4

static struct {
	pid_t pid;
	int output;
	size_t length;
	char line[1024];
	int watching, ended;
	long kills, by_rule[RULES], by_kill, jobs, writers, deaths;
} guard;

/* In kB, and numbers. */
static struct sample {
	long rss, data, locked, files, children;
} first, most;

static int vmstat;
static pid_t innocent, readers[READERS];
static long lost;

static void report(const char *who, const char *what)
{
	long long t = now_us();
	say("[%lld.%02lld] %s: %s\n", t / 1000000, t / 10000 % 100, who, what);
}

static void put(const char *file, const char *text)
{
	int to = open(file, O_WRONLY);
	if (to < 0 || write(to, text, strlen(text)) < 0)
		perror(file);
	close(to);
}

/* Starts a command in a session of its own. */
static pid_t start(const char *command, int output, int culprit_pipe)
{
	static char text[512];
	char *words[24];
	int n = 0;

	snprintf(text, sizeof text, "%s", command);
	for (char *word = strtok(text, " "); word && n < 23; word = strtok(NULL, " "))
		words[n++] = word;
	words[n] = NULL;
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		put("/proc/self/oom_score_adj", "0");
		dup2(output, 1);
		dup2(output, 2);
		/* Must be all that is left of that pipe, so not close-on-exec. */
		if (culprit_pipe >= 0)
			dup2(culprit_pipe, CULPRIT_FD);
		execvp(words[0], words);
		perror(words[0]);
		_exit(127);
	}
	return pid;
}

/* Waits until it is ready. */
static void start_innocent(const char *command)
{
	int pipes[2];
	char text;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		perror("pipe");
	innocent = start(command, pipes[1], -1);
	close(pipes[1]);
	if (read(pipes[0], &text, 1) != 1)
		report("referee", "the innocent is not ready");
	/* Kept open, for it would die of what it says. */
}

static void heard(const char *line)
{
	report("guard", line);
	if (strstr(line, "watching"))
		guard.watching = 1;
	if (strstr(line, " died "))
		guard.deaths++;
	const char *kill = strstr(line, "killing pid ");
	if (!kill)
		return;
	guard.kills++;
	if (strstr(kill, "with SIGKILL"))
		guard.by_kill++;
	if (strstr(kill, " more of its job "))
		guard.jobs++;
	if (strstr(kill, " to tmpfs just now"))
		guard.writers++;
	for (int i = 0; i < RULES; i++) {
		char reason[32];
		snprintf(reason, sizeof reason, " (%s: ", rules[i]);
		if (strstr(kill, reason))
			guard.by_rule[i]++;
	}
}

static void drain(void)
{
	char text[1024];
	ssize_t got;

	while ((got = read(guard.output, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < got; i++) {
			if (text[i] != '\n' && guard.length < sizeof guard.line - 1) {
				guard.line[guard.length++] = text[i];
			} else if (text[i] == '\n') {
				guard.line[guard.length] = 0;
				guard.length = 0;
				heard(guard.line);
			}
		}
}

static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		if (pid == guard.pid)
			guard.ended = 1, report("referee", "the guard has ended");
		int is_lost = pid == innocent;
		if (is_lost)
			innocent = 0;
		for (int i = 0; i < READERS; i++)
			if (pid == readers[i])
				is_lost = 1, readers[i] = 0;
		if (is_lost)
			lost++, report("referee", "an innocent has ended");
	}
}

/* Waits for the guard's words, or the end of all who hold CULPRITS, until US. */
static int watch(int culprits, long long us)
{
	for (;;) {
		long long left = us - now_us();
		struct pollfd polled[2] = { { guard.output, POLLIN, 0 }, { culprits, 0, 0 } };
		poll(polled, 2, left > 0 ? left / 1000 + 1 : 0);
		drain();
		reap();
		if (culprits >= 0 && polled[1].revents & (POLLHUP | POLLERR))
			return 1;
		if (left <= 0)
			return 0;
	}
}

/* A number of a file of /proc/PID, behind KEY. */
static long number_in(const char *name, const char *key)
{
	static char text[8192], path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", guard.pid, name);
	int file = open(path, O_RDONLY);
	ssize_t got = file < 0 ? 0 : read(file, text, sizeof text - 1);
	close(file);
	text[got > 0 ? got : 0] = 0;
	char *line = strstr(text, key);
	return line ? atol(line + strlen(key)) : -1;
}

static struct sample look(void)
{
	struct sample seen = { 0 };
	char text[512], path[64];

	/* Exact, which VmRSS is not everywhere. */
	seen.rss = number_in("smaps_rollup", "Rss:");
	if (seen.rss < 0)
		seen.rss = number_in("status", "VmRSS:");
	seen.data = number_in("status", "VmData:");
	seen.locked = number_in("status", "VmLck:");
	snprintf(path, sizeof path, "/proc/%d/fd", guard.pid);
	DIR *fds = opendir(path);
	for (struct dirent *entry; fds && (entry = readdir(fds));)
		if (entry->d_name[0] != '.')
			seen.files++;
	if (fds)
		closedir(fds);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", guard.pid, guard.pid);
	int file = open(path, O_RDONLY);
	ssize_t got = file < 0 ? 0 : read(file, text, sizeof text);
	close(file);
	for (ssize_t i = 0; i < got; i++)
		seen.children += text[i] == ' ';
	return seen;
}

static void raise_to(long *high, long seen)
{
	if (seen > *high)
		*high = seen;
}

/* After a culprit: what the guard has, once it has come to rest. */
static struct sample settle(long available)
{
	struct sample seen;
	long long until = now_us() + 5000000;

	while (meminfo("MemAvailable:") < available && now_us() < until)
		watch(-1, now_us() + 50000);
	watch(-1, now_us() + 250000);
	/* A child of the guard's may be ending. What stays is counted. */
	until = now_us() + 3000000;
	while ((seen = look()).children > 0 && now_us() < until)
		watch(-1, now_us() + 20000);
	return seen;
}

int main(int argc, char **argv)
{
	static char text[1024];
	int pipes[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (argc < 6)
		return 2;
	long wanted = atol(argv[1]), rounds = 0, late = 0;
	const char *reasons = argv[2];
	char **culprits = argv + 5;
	int sorts = argc - 5;
	long warm = wanted / 4 < WARM_ROUNDS * sorts ? wanted / 4 : WARM_ROUNDS * sorts;
	vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	put("/proc/self/oom_score_adj", "-1000");
	mlockall(MCL_CURRENT | MCL_FUTURE);

	start_innocent(argv[4]);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		perror("pipe");
	guard.pid = start(argv[3], pipes[1], -1);
	close(pipes[1]);
	guard.output = pipes[0];
	fcntl(guard.output, F_SETFL, O_NONBLOCK);
	for (long long until = now_us() + 20000000; !guard.watching && now_us() < until;)
		watch(-1, now_us() + 50000);
	watch(-1, now_us() + 1000000);

	long available = meminfo("MemAvailable:") / 4 * 3, ooms = oom_kills(vmstat);
	long long began = now_us();
	while (guard.kills < wanted && !guard.ended && late + lost < 10) {
		/* One that was lost is counted, and there is to be another. */
		if (!innocent)
			start_innocent(argv[4]);
		char *culprit = culprits[rounds % sorts];
		char *command = strchr(culprit, ' ') + 1;
		int needs = *culprit, ends[2], output[2];
		long before = guard.kills;

		if (needs == 's' && swapon(SWAP, 0) < 0)
			perror(SWAP);
		if (needs == 'c') {
			if (pipe2(output, O_CLOEXEC) < 0)
				perror("pipe");
			for (int i = 0; i < READERS; i++)
				readers[i] = start(READ, output[1], -1);
			close(output[1]);
			/* The first line of all is that somebody has read everything. */
			if (read(output[0], text, 1) != 1)
				report("referee", "the readers are not ready");
		}
		if (pipe2(ends, O_CLOEXEC) < 0)
			perror("pipe");
		long long start_us = now_us();
		pid_t leader = start(command, null, ends[1]);
		close(ends[1]);
		int gone = watch(ends[0], start_us + PATIENCE);
		long took = (now_us() - start_us) / 1000;
		close(ends[0]);
		if (!gone)
			late++, report("referee", "nobody ended this one");
		/* Whoever is left of its session: the parent of a swarm. */
		kill(-leader, SIGKILL);
		if (needs == 'c') {
			for (int i = 0; i < READERS; i++) {
				pid_t reader = readers[i];
				readers[i] = 0;
				if (reader)
					kill(reader, SIGKILL);
			}
			/* They would have died of what they say. */
			close(output[0]);
		}
		if (needs == 'f')
			unlink(FILE_WRITTEN);
		if (needs == 's' && swapoff(SWAP) < 0)
			perror(SWAP);
		struct sample seen = settle(available);
		rounds++;
		raise_to(&most.rss, seen.rss);
		raise_to(&most.data, seen.data);
		raise_to(&most.locked, seen.locked);
		raise_to(&most.files, seen.files);
		raise_to(&most.children, seen.children);
		if (rounds <= warm)
			first = most;
		snprintf(text, sizeof text,
			 "round %ld, %s: %ld ms, %ld kills; the guard has %ld kB, %ld of data, %ld locked, %ld files, %ld children",
			 rounds, command, took, guard.kills - before, seen.rss, seen.data, seen.locked,
			 seen.files, seen.children);
		report("referee", text);
	}
	long seconds = (now_us() - began) / 1000000;
	/* It still answers. */
	kill(guard.pid, SIGUSR1);
	watch(-1, now_us() + 1000000);
	int missing = 0;
	for (int i = 0; i < RULES; i++)
		if (strstr(reasons, rules[i]) && !guard.by_rule[i])
			missing++;
	say("RESULT kills=%ld rounds=%ld seconds=%ld exhaustion=%ld pressure=%ld floor=%ld thrash=%ld "
	    "sigkill=%ld jobs=%ld writers=%ld deaths=%ld missing=%d late=%ld oom_kill=%ld lost=%ld guard=%s "
	    "rss_first=%ld rss_most=%ld data_first=%ld data_most=%ld locked_first=%ld locked_most=%ld "
	    "files_first=%ld files_most=%ld children_most=%ld\n",
	    guard.kills, rounds, seconds, guard.by_rule[0], guard.by_rule[1], guard.by_rule[2],
	    guard.by_rule[3], guard.by_kill, guard.jobs, guard.writers, guard.deaths, missing, late, oom_kills(vmstat) - ooms, lost,
	    guard.ended ? "dead" : "alive", first.rss, most.rss, first.data, most.data,
	    first.locked, most.locked, first.files, most.files, most.children);
	reboot(RB_POWER_OFF);
	return 1;
}
