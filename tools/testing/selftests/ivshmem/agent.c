// SPDX-License-Identifier: GPL-2.0
/*
 * The test agent: runs commands in a guest for the host that drives it.
 *
 * Both sides exchange frames over a serial port in raw mode; harness/guest.py
 * is the other side. A frame is a struct agent_header and its payload:
 *
 *   host to agent
 *   RUN     u32 uid, gid, n, n supplementary groups, command for /bin/sh -c
 *   STDIN   bytes for the job; none: close its standard input
 *   KILL    u32 signal, to the process group of the job
 *
 *   agent to host
 *   HELLO   the agent is up (job 0)
 *   OUT     bytes from the job's standard output
 *   ERR     bytes from its standard error
 *   ACK     all bytes of the last STDIN are written: send more
 *   EXIT    u32 exit code, 128 + signal if one ended it; the job's last frame
 *
 * The host has one unacknowledged STDIN per job at most, which is what keeps
 * the receive buffer of the serial port from overflowing. Meant to be exec'ed
 * by init: as process 1 it reaps orphans too.
 */
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define AGENT_MAGIC		0xa5
#define AGENT_MAX_JOBS		32
#define AGENT_MAX_GROUPS	8
#define AGENT_MAX_BYTES		65536

enum agent_type {
	AGENT_RUN = 'R',
	AGENT_STDIN = 'I',
	AGENT_KILL = 'K',
	AGENT_HELLO = 'H',
	AGENT_OUT = 'O',
	AGENT_ERR = 'E',
	AGENT_ACK = 'A',
	AGENT_EXIT = 'X',
};

struct agent_header {
	uint8_t magic;
	uint8_t type;
	uint16_t job;
	uint32_t len;
};

/**
 * struct agent_job - a command that runs
 * @id: the host's name for it
 * @pid: its process, leader of its own group; 0 = this slot is free
 * @in: write end of its standard input, -1 when closed
 * @out: read end of its standard output
 * @err: read end of its standard error
 * @pending: bytes that wait to be written to @in
 * @pending_len: how many
 * @pending_done: how many of them are written
 */
struct agent_job {
	unsigned int id;
	pid_t pid;
	int in;
	int out;
	int err;
	char *pending;
	size_t pending_len;
	size_t pending_done;
};

static struct agent_job agent_jobs[AGENT_MAX_JOBS];
static int agent_tty;

static char agent_input[sizeof(struct agent_header) + AGENT_MAX_BYTES];
static size_t agent_input_len;

static void agent_write(const void *data, size_t len)
{
	while (len) {
		ssize_t n = write(agent_tty, data, len);

		if (n < 0 && errno != EINTR)
			err(1, "write to the host");
		if (n > 0) {
			data = (const char *)data + n;
			len -= n;
		}
	}
}

static void agent_send(unsigned int job, enum agent_type type,
		       const void *data, size_t len)
{
	struct agent_header h = {
		.magic = AGENT_MAGIC,
		.type = type,
		.job = htole16(job),
		.len = htole32(len),
	};

	agent_write(&h, sizeof(h));
	agent_write(data, len);
}

static uint32_t agent_u32(const char *data, unsigned int index)
{
	uint32_t value;

	memcpy(&value, data + 4 * index, sizeof(value));
	return le32toh(value);
}

static void agent_send_exit(unsigned int job, uint32_t code)
{
	uint32_t value = htole32(code);

	agent_send(job, AGENT_EXIT, &value, sizeof(value));
}

static struct agent_job *agent_find(unsigned int id)
{
	for (int i = 0; i < AGENT_MAX_JOBS; i++)
		if (agent_jobs[i].pid && agent_jobs[i].id == id)
			return &agent_jobs[i];
	return NULL;
}

static struct agent_job *agent_free_slot(void)
{
	for (int i = 0; i < AGENT_MAX_JOBS; i++)
		if (!agent_jobs[i].pid)
			return &agent_jobs[i];
	return NULL;
}

static void agent_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Pass on what the pipe holds; false at its end */
static bool agent_relay(struct agent_job *job, int fd, enum agent_type type)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0)
		agent_send(job->id, type, data, n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void agent_drain(struct agent_job *job, int fd, enum agent_type type)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (fd >= 0 && poll(&p, 1, 0) > 0)
		if (!agent_relay(job, fd, type))
			break;
}

static void agent_drop_pending(struct agent_job *job)
{
	if (!job->pending)
		return;
	free(job->pending);
	job->pending = NULL;
	agent_send(job->id, AGENT_ACK, NULL, 0);
}

/* What its children still hold open is theirs: the job ends with its process */
static void agent_job_exited(struct agent_job *job, int status)
{
	agent_drain(job, job->out, AGENT_OUT);
	agent_drain(job, job->err, AGENT_ERR);
	agent_close(&job->in);
	agent_close(&job->out);
	agent_close(&job->err);
	agent_drop_pending(job);
	agent_send_exit(job->id, WIFEXITED(status) ? WEXITSTATUS(status) :
						     128 + WTERMSIG(status));
	job->pid = 0;
}

static void agent_reap(int signals)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(signals, &info, sizeof(info)) < 0 && errno != EAGAIN)
		err(1, "signalfd");
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < AGENT_MAX_JOBS; i++)
			if (agent_jobs[i].pid == pid)
				agent_job_exited(&agent_jobs[i], status);
}

static void agent_child(const int fds[3], const char *data)
{
	gid_t groups[AGENT_MAX_GROUPS];
	uint32_t n = agent_u32(data, 2);
	sigset_t none;

	for (uint32_t i = 0; i < n; i++)
		groups[i] = agent_u32(data, 3 + i);
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			err(127, "dup2");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	if (setgroups(n, groups) || setgid(agent_u32(data, 1)) ||
	    setuid(agent_u32(data, 0)))
		err(127, "change of the user");
	execl("/bin/sh", "sh", "-c", data + 4 * (3 + n), NULL);
	err(127, "/bin/sh");
}

static void agent_run(unsigned int id, const char *data, size_t len)
{
	struct agent_job *job = agent_free_slot();
	int in[2], out[2], fail[2];

	if (!job || len < 12 || agent_u32(data, 2) > AGENT_MAX_GROUPS ||
	    len < 4 * (3 + agent_u32(data, 2))) {
		agent_send_exit(id, 126);
		return;
	}
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ||
	    pipe2(fail, O_CLOEXEC))
		err(1, "pipe");
	*job = (struct agent_job){
		.id = id, .in = in[1], .out = out[0], .err = fail[0],
	};
	fcntl(job->in, F_SETFL, O_NONBLOCK);
	job->pid = fork();
	if (job->pid < 0)
		err(1, "fork");
	if (!job->pid)
		agent_child((int[]){ in[0], out[1], fail[1] }, data);
	/* by both, so that it is done before a KILL and before the exec */
	setpgid(job->pid, job->pid);
	close(in[0]);
	close(out[1]);
	close(fail[1]);
}

static void agent_stdin(struct agent_job *job, const char *data, size_t len)
{
	if (!len) {
		agent_close(&job->in);
		agent_send(job->id, AGENT_ACK, NULL, 0);
		return;
	}
	job->pending = malloc(len);
	if (!job->pending)
		err(1, "malloc");
	memcpy(job->pending, data, len);
	job->pending_len = len;
	job->pending_done = 0;
}

static void agent_feed(struct agent_job *job)
{
	ssize_t n = write(job->in, job->pending + job->pending_done,
			  job->pending_len - job->pending_done);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		agent_close(&job->in);
	else
		job->pending_done += n;
	if (n < 0 || job->pending_done == job->pending_len)
		agent_drop_pending(job);
}

/* A job may have ended while the host's frame was on its way */
static void agent_handle(const struct agent_header *h, const char *data)
{
	unsigned int id = le16toh(h->job);
	size_t len = le32toh(h->len);
	struct agent_job *job = agent_find(id);

	if (h->type == AGENT_RUN)
		agent_run(id, data, len);
	else if (h->type == AGENT_STDIN && job && job->in >= 0)
		agent_stdin(job, data, len);
	else if (h->type == AGENT_STDIN)
		agent_send(id, AGENT_ACK, NULL, 0);
	else if (h->type == AGENT_KILL && job && len == 4)
		kill(-job->pid, agent_u32(data, 0));
}

/* Takes the first whole frame out of the input; false if there is none */
static bool agent_frame(void)
{
	struct agent_header h;
	size_t size;
	char save;

	if (agent_input_len < sizeof(h))
		return false;
	memcpy(&h, agent_input, sizeof(h));
	if (h.magic != AGENT_MAGIC || le32toh(h.len) >= AGENT_MAX_BYTES)
		errx(1, "the host does not speak in frames");
	size = sizeof(h) + le32toh(h.len);
	if (agent_input_len < size)
		return false;
	/* the command of a RUN becomes a string in its place */
	save = agent_input[size];
	agent_input[size] = '\0';
	agent_handle(&h, agent_input + sizeof(h));
	agent_input[size] = save;
	agent_input_len -= size;
	memmove(agent_input, agent_input + size, agent_input_len);
	return true;
}

static void agent_receive(void)
{
	ssize_t n = read(agent_tty, agent_input + agent_input_len,
			 sizeof(agent_input) - 1 - agent_input_len);

	if (n <= 0 && errno != EINTR && errno != EAGAIN)
		err(1, "read from the host");
	if (n > 0)
		agent_input_len += n;
	while (agent_frame())
		;
}

static void agent_open(const char *path)
{
	struct termios t;

	agent_tty = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (agent_tty < 0 || tcgetattr(agent_tty, &t))
		err(1, "%s", path);
	cfmakeraw(&t);
	cfsetspeed(&t, B115200);
	t.c_cflag |= CLOCAL | CREAD;
	if (tcsetattr(agent_tty, TCSANOW, &t))
		err(1, "%s", path);
}

static int agent_signals(void)
{
	sigset_t set;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		err(1, "signalfd");
	return fd;
}

/* One pass: wait for anything, then look at the jobs before new frames */
static void agent_poll(int signals)
{
	struct pollfd p[2 + 3 * AGENT_MAX_JOBS] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = agent_tty, .events = POLLIN },
	};
	struct pollfd *q = p + 2;

	for (int i = 0; i < AGENT_MAX_JOBS; i++, q += 3) {
		struct agent_job *job = &agent_jobs[i];

		q[0] = (struct pollfd){ .fd = job->pid ? job->out : -1,
					.events = POLLIN };
		q[1] = (struct pollfd){ .fd = job->pid ? job->err : -1,
					.events = POLLIN };
		q[2] = (struct pollfd){ .fd = job->pid && job->pending ?
					      job->in : -1,
					.events = POLLOUT };
	}
	if (poll(p, 2 + 3 * AGENT_MAX_JOBS, -1) < 0) {
		if (errno != EINTR)
			err(1, "poll");
		return;
	}
	q = p + 2;
	for (int i = 0; i < AGENT_MAX_JOBS; i++, q += 3) {
		struct agent_job *job = &agent_jobs[i];

		if (q[0].revents && !agent_relay(job, job->out, AGENT_OUT))
			agent_close(&job->out);
		if (q[1].revents && !agent_relay(job, job->err, AGENT_ERR))
			agent_close(&job->err);
		if (q[2].revents)
			agent_feed(job);
	}
	if (p[0].revents)
		agent_reap(signals);
	if (p[1].revents)
		agent_receive();
}

int main(int argc, char **argv)
{
	int signals;

	if (argc != 2)
		errx(2, "usage: agent TTY");
	agent_open(argv[1]);
	signals = agent_signals();
	agent_send(0, AGENT_HELLO, NULL, 0);
	for (;;)
		agent_poll(signals);
}
