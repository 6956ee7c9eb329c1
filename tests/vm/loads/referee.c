/*
 * Plays one scene of the lab in the virtual machine: starts everybody, watches,
 * and reports. It is locked in memory and never forks while memory is short, so
 * that it sees what happens.
 *
 *   referee SECONDS PLAYER...
 *
 * SECONDS is how long the culprit may live. A PLAYER is one argument, a role
 * and a command, split at blanks. The first five roles are started first, in this
 * order, and waited for until they print "ready":
 *
 *   innocent    must be alive at the end
 *   shielded    the same, with oom_score_adj -900
 *   protected   the same, with -1000
 *   guard       must be alive at the end
 *   fresh       as innocent, but started once the guard has watched for a second,
 *               and a second before the trouble begins
 *   culprit     the scene ends 2.5 s after all culprits and all their children
 *               have died
 *   parent      a culprit of which only children are guilty: it must be alive at
 *               the end
 *   orphans     a culprit that stays in the referee's session and process group
 *   load        must end by itself with status 0, which ends the scene
 *   stuck       starts with the culprit, is put into a frozen cgroup (v1) once
 *               it prints "is full", and let go at the end
 *
 * What players print goes to the console, with the time and their name. Each
 * has a session of its own, as from a service manager.
 */
#include "lab.h"
#include <poll.h>
#include <sys/reboot.h>

#define PLAYERS 16
#define AFTERWARDS 2500000LL

struct player {
	const char *role, *name;
	char *command;
	pid_t pid;
	int output;
	int ready, full, ended, status;
	size_t length;
	char line[512];
};

static struct player players[PLAYERS];
static int count, vmstat, culprits = -1, freezer = -1;
static struct canary *canary;

static void report(const char *who, const char *what)
{
	long long t = now_us();
	size_t length = strlen(who);
	/* Those that give their name have it once. */
	if (strncmp(what, who, length) == 0 && strncmp(what + length, ": ", 2) == 0)
		what += length + 2;
	say("[%lld.%02lld] %s: %s\n", t / 1000000, t / 10000 % 100, who, what);
}

static int is(struct player *p, const char *role)
{
	return p->role && strcmp(p->role, role) == 0;
}

static int is_to_blame(struct player *p)
{
	return is(p, "culprit") || is(p, "orphans");
}

static void put(const char *file, const char *text)
{
	int to = open(file, O_WRONLY);
	if (to < 0 || write(to, text, strlen(text)) < 0)
		perror(file);
	close(to);
}

static int is_starter(const char *name)
{
	return strcmp(name, "in") == 0 || strcmp(name, "in-read-only") == 0 ||
	       strcmp(name, "in-container") == 0 || strcmp(name, "container") == 0;
}

static void start(struct player *p, int culprit_pipe)
{
	int output[2];
	char *words[24];
	int n = 0;

	for (char *word = strtok(p->command, " "); word && n < 23; word = strtok(NULL, " "))
		words[n++] = word;
	words[n] = NULL;
	/* Behind those that put it into a cgroup. */
	p->name = words[0];
	for (int i = 2; i < n && is_starter(p->name); i += 2)
		p->name = words[i];
	if (pipe2(output, O_CLOEXEC) < 0) {
		perror("pipe");
		exit(1);
	}
	p->pid = fork();
	if (p->pid == 0) {
		if (!is(p, "orphans"))
			setsid();
		put("/proc/self/oom_score_adj", is(p, "protected")  ? "-1000"
						: is(p, "shielded") ? "-900"
								    : "0");
		if (is(p, "stuck"))
			put("/run/freezer/lab/tasks", "0");
		dup2(output[1], 1);
		dup2(output[1], 2);
		/* Must be all that is left of that pipe, so not close-on-exec. */
		if (culprit_pipe >= 0)
			dup2(culprit_pipe, CULPRIT_FD);
		execvp(words[0], words);
		perror(words[0]);
		_exit(127);
	}
	close(output[1]);
	p->output = output[0];
	fcntl(p->output, F_SETFL, O_NONBLOCK);
}

static void freeze(const char *state)
{
	if (pwrite(freezer, state, strlen(state), 0) < 0)
		perror("freezer");
}

static void line(struct player *p)
{
	report(p->name, p->line);
	if (is(p, "guard") ? strstr(p->line, "watching") || strstr(p->line, "SIGTERM when") ||
				     strstr(p->line, "Running oomd")
			   : strcmp(p->line, "ready") == 0)
		p->ready = 1;
	if (is(p, "stuck") && strstr(p->line, "is full")) {
		freeze("FROZEN");
		report("referee", "has frozen it");
	}
}

static void drain(struct player *p)
{
	char text[1024];
	ssize_t got;

	while ((got = read(p->output, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < got; i++) {
			if (text[i] != '\n' && p->length < sizeof p->line - 1) {
				p->line[p->length++] = text[i];
			} else if (text[i] == '\n') {
				p->line[p->length] = 0;
				p->length = 0;
				line(p);
			}
		}
	if (got == 0) {
		close(p->output);
		p->output = -1;
	}
}

/* Waits for at most MS for anything to happen and takes note of it. */
static int watch(int ms)
{
	struct pollfd polled[PLAYERS + 1];
	int status, gone = 0;
	pid_t pid;

	for (int i = 0; i < count; i++)
		polled[i] = (struct pollfd){ players[i].pid ? players[i].output : -1, POLLIN, 0 };
	polled[count] = (struct pollfd){ culprits, 0, 0 };
	poll(polled, count + 1, ms);
	/* All who held its other end are dead: the time is now, not later. */
	if (polled[count].revents & (POLLHUP | POLLERR))
		gone = 1;
	for (int i = 0; i < count; i++)
		if (polled[i].revents)
			drain(&players[i]);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < count; i++)
			if (players[i].pid == pid) {
				char text[64];
				players[i].ended = 1;
				players[i].status = status;
				snprintf(text, sizeof text, "%s has ended: %s %d", players[i].name,
					 WIFSIGNALED(status) ? "signal" : "status",
					 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
				report("referee", text);
			}
	return gone;
}

static void watch_until(long long us)
{
	while (now_us() < us)
		watch((us - now_us()) / 1000 + 1);
}

static void start_and_wait(struct player *p)
{
	/* A guard unpacks itself, which takes half a minute beside readers where it is emulated slowly. */
	long long patience = now_us() + 120000000;

	start(p, -1);
	while (!p->ready && !p->ended && now_us() < patience)
		watch(100);
	if (!p->ready)
		report("referee", "the next one does not say that it is ready"), report("referee", p->name);
}

static int has_ended(const char *name)
{
	for (int i = 0; i < count; i++)
		if (players[i].name && strcmp(players[i].name, name) == 0)
			return players[i].ended;
	return 1;
}

static void result(long long began, long long gone, long ooms)
{
	long long worst[KINDS], stalled = 0, t = now_us();
	char lost[256] = "", text[64], when[KINDS][32];
	const char *guard = "none", *stuck = "-";

	for (int kind = 0; kind < KINDS; kind++) {
		/* What it still waits for counts, too, unless it is dead. */
		long long due = canary->kind[kind].due;
		worst[kind] = canary->kind[kind].worst;
		long long at = canary->kind[kind].when;
		long long waits = due && !has_ended("canary") ? t - due : 0;
		if (waits > worst[kind])
			worst[kind] = waits, at = t;
		if (kind == TICKS)
			stalled = canary->kind[kind].stalled + (waits > 50000 ? waits : 0);
		snprintf(when[kind], sizeof when[kind], "%lld.%02lld", at / 1000000, at / 10000 % 100);
	}
	for (int i = 0; i < count; i++) {
		struct player *p = &players[i];
		if (is(p, "guard"))
			guard = p->ended ? "dead" : "alive";
		if (is(p, "stuck"))
			stuck = p->ended ? "dead" : "alive";
		if (is_to_blame(p) || is(p, "stuck") || (is(p, "load") && p->ended && p->status == 0))
			continue;
		if (p->ended || is(p, "load")) {
			if (*lost)
				strcat(lost, ",");
			strncat(lost, p->name, 30);
		}
	}
	if (began && gone)
		snprintf(text, sizeof text, "%lld", (gone - began) / 1000);
	else
		strcpy(text, began ? "never" : "-");
	say("RESULT culprit_ms=%s oom_kill=%ld lost=%s ticks_ms=%lld starts_ms=%lld stalled_ms=%lld "
	    "guard=%s stuck=%s worst_tick_at=%s worst_start_at=%s\n",
	    text, oom_kills(vmstat) - ooms, *lost ? lost : "-", worst[TICKS] / 1000, worst[STARTS] / 1000,
	    stalled / 1000, guard, stuck, when[TICKS], when[STARTS]);
}

int main(int argc, char **argv)
{
	struct player *load = NULL;
	int culprit = 0;
	long long patience = argc > 1 ? atol(argv[1]) * 1000000 : 30000000;
	long long began, gone = 0;
	int ends[2];

	for (int i = 2; i < argc && count < PLAYERS; i++) {
		struct player *p = &players[count++];
		p->role = strtok(argv[i], " ");
		p->command = strtok(NULL, "");
		if (!p->role || !p->command)
			return 2;
		if (is_to_blame(p) || is(p, "parent"))
			culprit = 1;
		if (is(p, "load"))
			load = p;
	}
	int page = open(CANARY_PAGE, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (ftruncate(page, PAGE) < 0)
		perror(CANARY_PAGE);
	canary = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
	vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	put("/proc/self/oom_score_adj", "-1000");
	mlockall(MCL_CURRENT | MCL_FUTURE);

	for (int i = 0; i < count; i++)
		if (is(&players[i], "innocent") || is(&players[i], "shielded") ||
		    is(&players[i], "protected"))
			start_and_wait(&players[i]);
	for (int i = 0; i < count; i++)
		if (is(&players[i], "guard"))
			start_and_wait(&players[i]);
	watch_until(now_us() + 1000000);
	for (int i = 0; i < count; i++)
		if (is(&players[i], "fresh")) {
			start_and_wait(&players[i]);
			watch_until(now_us() + 1000000);
		}

	/* Read end above CULPRIT_FD, and the writing end only the culprits'. */
	if (pipe2(ends, O_CLOEXEC) < 0)
		perror("pipe");
	long ooms = oom_kills(vmstat);
	canary->epoch++;
	watch_until(now_us() + 200000);
	began = now_us();
	report("referee", "the scene begins");
	for (int i = 0; i < count; i++)
		if (is(&players[i], "stuck")) {
			freezer = open("/run/freezer/lab/freezer.state", O_WRONLY | O_CLOEXEC);
			start(&players[i], -1);
		}
	for (int i = 0; i < count; i++)
		if (is_to_blame(&players[i]) || is(&players[i], "parent"))
			start(&players[i], ends[1]);
	if (load)
		start(load, -1);
	close(ends[1]);
	culprits = culprit ? ends[0] : -1;
	while (!gone && now_us() < began + patience) {
		if (culprit && watch(1000))
			gone = now_us();
		else if (load && load->ended)
			break;
		else if (!culprit)
			watch(1000);
	}
	culprits = -1;
	if (gone)
		report("referee", "the culprit is gone");
	else if (culprit)
		report("referee", "time is up");
	if (!culprit || gone)
		watch_until(now_us() + AFTERWARDS);
	/* What was killed while frozen must now die of it. */
	if (freezer >= 0) {
		freeze("THAWED");
		watch_until(now_us() + 500000);
	}
	result(culprit ? began : 0, gone, ooms);
	reboot(RB_POWER_OFF);
	return 1;
}
