/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client in the QEMU device, qemu/hw/misc/ivshmem2-client.c, and a server
 * that is none. Connecting fails or works; a client that is connected can be
 * used until it is closed, and nothing is left of it then.
 *
 * Built with QEMU's headers, without QEMU: what the client calls of it, errors,
 * the socket and the event notifiers, is here, as far as it goes. Its main loop
 * delivers one piece of the input at a time.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "chardev/char.h"
#include "ivshmem2.h"
#include "trace.h"

#include "message.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
gboolean __wrap_g_main_context_iteration(GMainContext *context, gboolean may_block);

/* ---- errors ---- */

struct Error {
    char text[512];
};

Error *error_abort;
Error *error_fatal;

G_GNUC_PRINTF(2, 0)
static void qemu_client_error(Error **errp, const char *fmt, va_list args)
{
    /* As in QEMU: an error that is set already is a fault of who sets it */
    fuzz_require(errp && !*errp);
    *errp = g_new0(Error, 1);
    vsnprintf((*errp)->text, sizeof((*errp)->text), fmt, args);
}

void error_setg_internal(Error **errp, const char *src, int line,
                         const char *func, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    qemu_client_error(errp, fmt, args);
    va_end(args);
}

void error_setg_errno_internal(Error **errp, const char *src, int line,
                               const char *func, int os_error,
                               const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    qemu_client_error(errp, fmt, args);
    va_end(args);
}

void error_prepend(Error *const *errp, const char *fmt, ...)
{
    fuzz_require(*errp);
}

void error_propagate(Error **dst_errp, Error *local_err)
{
    fuzz_require(local_err && !*dst_errp);
    *dst_errp = local_err;
}

const char *error_get_pretty(const Error *err)
{
    return err->text;
}

void error_free(Error *err)
{
    g_free(err);
}

void warn_report(const char *fmt, ...)
{
}

/* ---- traces: off ---- */

int trace_events_enabled_count;
int qemu_loglevel;
bool message_with_timestamp;
uint16_t _TRACE_IVSHMEM2_INIT_DSTATE;
uint16_t _TRACE_IVSHMEM2_EVENT_FD_DSTATE;
uint16_t _TRACE_IVSHMEM2_PEER_GONE_DSTATE;
uint16_t _TRACE_IVSHMEM2_SKIP_DSTATE;

void qemu_log(const char *fmt, ...)
{
}

int qemu_get_thread_id(void)
{
    return 0;
}

/* ---- event notifiers ---- */

void event_notifier_init_fd(EventNotifier *e, int fd)
{
    e->rfd = fd;
    e->wfd = fd;
    e->initialized = true;
}

void event_notifier_cleanup(EventNotifier *e)
{
    fuzz_require(e->initialized);
    close(e->rfd);
    e->initialized = false;
}

void event_notifier_set_handler(EventNotifier *e, EventNotifierHandler *handler)
{
    fuzz_require(e->initialized);
}

int event_notifier_set(EventNotifier *e)
{
    uint64_t one = 1;

    fuzz_require(e->initialized);
    return write(e->wfd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

int event_notifier_test_and_clear(EventNotifier *e)
{
    uint64_t count;

    return read(e->rfd, &count, sizeof(count)) == sizeof(count);
}

void call_rcu1(struct rcu_head *head, RCUCBFunc *func)
{
    func(head);
}

/* ---- the socket: messages from the input, in pieces ---- */

static struct fuzz_input qemu_client_input;
static struct fuzz_message qemu_client_message;
static size_t qemu_client_sent;
static Chardev qemu_client_chardev = { .label = (char *)"fuzz" };
static IOCanReadHandler *qemu_client_can_read;
static IOReadHandler *qemu_client_read;
static IOEventHandler *qemu_client_event;
static void *qemu_client_opaque;

void qemu_chr_fe_set_handlers(CharBackend *b, IOCanReadHandler *fd_can_read,
                              IOReadHandler *fd_read, IOEventHandler *fd_event,
                              BackendChangeHandler *be_change, void *opaque,
                              GMainContext *context, bool set_open)
{
    qemu_client_can_read = fd_can_read;
    qemu_client_read = fd_read;
    qemu_client_event = fd_event;
    qemu_client_opaque = opaque;
}

Chardev *qemu_chr_fe_get_driver(CharBackend *be)
{
    return &qemu_client_chardev;
}

bool qemu_chr_fe_backend_open(CharBackend *be)
{
    return true;
}

bool qemu_chr_has_feature(Chardev *chr, ChardevFeature feature)
{
    return true;
}

void qemu_chr_fe_disconnect(CharBackend *be)
{
}

int qemu_chr_fe_get_msgfds(CharBackend *be, int *fds, int num)
{
    int i;

    if (qemu_client_sent) {
        return 0;
    }
    for (i = 0; i < num && i < (int)qemu_client_message.num; i++) {
        fds[i] = dup(qemu_client_message.fds[i]);
    }
    return i;
}

/* False if there is nothing more to say, or nobody who listens */
static bool qemu_client_piece(void)
{
    struct fuzz_message *m = &qemu_client_message;
    uint8_t piece[FUZZ_MESSAGE_BYTES];
    int room;

    if (qemu_client_sent == m->len) {
        if (!qemu_client_input.size) {
            return false;
        }
        fuzz_message_next(&qemu_client_input, m);
        qemu_client_sent = 0;
    }
    if (!qemu_client_can_read) {
        return false;
    }
    room = qemu_client_can_read(qemu_client_opaque);
    if (room <= 0) {
        return false;
    }
    room = MIN((size_t)room, m->len - qemu_client_sent);
    memcpy(piece, (uint8_t *)m->words + qemu_client_sent, room);
    qemu_client_read(qemu_client_opaque, piece, room);
    qemu_client_sent += room;
    return true;
}

gboolean __wrap_g_main_context_iteration(GMainContext *context, gboolean may_block)
{
    if (!qemu_client_piece()) {
        qemu_client_event(qemu_client_opaque, CHR_EVENT_CLOSED);
    }
    return true;
}

/* ---- the device ---- */

static unsigned int qemu_client_vectors;

static void qemu_client_vector_added(IVShmemClient *c, uint32_t id, uint32_t vector)
{
    fuzz_require(id < c->max_peers && vector < c->vectors);
    qemu_client_vectors++;
}

static void qemu_client_vector_removed(IVShmemClient *c, uint32_t id, uint32_t vector)
{
    fuzz_require(id < c->max_peers && vector < c->vectors);
    qemu_client_vectors--;
}

static void qemu_client_own_event(IVShmemClient *c, uint32_t vector)
{
    fuzz_require(vector < c->vectors);
}

static void qemu_client_use(IVShmemClient *c)
{
    uint32_t id;

    fuzz_require(c->id < c->max_peers && c->size >= c->layout.size);
    fuzz_require(c->peers[c->id].num == c->vectors);
    memset(c->shmem + c->layout.rw_offset, 1, c->layout.rw_size);
    while (qemu_client_piece()) {
        ivshmem2_client_set_state(c, 1);
        ivshmem2_client_kick_others(c);
    }
    for (id = 0; id < 10; id++) {
        ivshmem2_client_kick(c, id, id / 2);
    }
    if (qemu_client_event) {
        qemu_client_event(c, CHR_EVENT_CLOSED);
    }
    ivshmem2_client_set_state(c, 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    unsigned int i;

    for (i = 0; i < FUZZ_MESSAGE_FDS; i++) {
        fuzz_message_fd(i);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const IVShmemClientOps ops = {
        .vector_added = qemu_client_vector_added,
        .vector_removed = qemu_client_vector_removed,
        .event = qemu_client_own_event,
    };
    IVShmemClient c = { .phase = IVSHMEM2_CLIENT_CLOSED };
    int free_fd = fuzz_free_fd();
    Error *err = NULL;

    qemu_client_input = (struct fuzz_input) { data, size };
    qemu_client_message.len = 0;
    qemu_client_sent = 0;
    if (ivshmem2_client_connect(&c, &ops, false, &err)) {
        qemu_client_use(&c);
        ivshmem2_client_close(&c);
    } else {
        error_free(err);
    }
    ivshmem2_client_unmap(&c);
    fuzz_require(!qemu_client_vectors && !c.peers && !c.setup_error);
    fuzz_require(fuzz_free_fd() == free_fd);
    return 0;
}
