/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ivshmem v2: client of the server protocol, version 2
 *
 * Receives the shared memory and the eventfds of the peers over a UNIX socket
 * (Documentation/ivshmem/server-protocol.rst) and believes none of the
 * server's numbers. What is wrong during the set-up fails the device; later
 * it only ends the conversation: the guest keeps the peers it has.
 *
 * Who holds the descriptors, server or peer, is trusted as far as the host
 * goes: it could as well truncate the shared memory. Guests are not trusted.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "chardev/char.h"
#include "ivshmem2.h"
#include "trace.h"

/*
 * A live server says all at once. A machine that runs stands still meanwhile, so
 * that it gets less time then.
 */
#define IVSHMEM2_CLIENT_SETUP_MS        5000
#define IVSHMEM2_CLIENT_PLUG_MS         800

/* No version of the protocol has messages of more than a few dozen bytes */
#define IVSHMEM2_CLIENT_MAX_LEN         4096

/* As many descriptors as the socket takes in one piece */
#define IVSHMEM2_CLIENT_MAX_FDS         16

typedef struct IVShmemMapping {
    struct rcu_head rcu;
    void *host;
    size_t size;
} IVShmemMapping;

static const char *ivshmem2_client_name(IVShmemClient *c)
{
    return qemu_chr_fe_get_driver(&c->chr)->label;
}

static void ivshmem2_client_close_fd(IVShmemClient *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
}

static int ivshmem2_client_take_fd(IVShmemClient *c)
{
    int fd = c->fd;

    c->fd = -1;
    return fd;
}

/* Peers */

static bool ivshmem2_client_has(IVShmemClient *c, uint32_t id, uint32_t vector)
{
    return c->peers && id < c->max_peers && vector < c->peers[id].num;
}

static bool ivshmem2_client_complete(IVShmemClient *c)
{
    return c->peers && c->peers[c->id].num == c->vectors;
}

static void ivshmem2_client_own_event(EventNotifier *notifier)
{
    IVShmemVector *v = container_of(notifier, IVShmemVector, notifier);
    IVShmemClient *c = v->client;

    if (event_notifier_test_and_clear(notifier)) {
        c->ops->event(c, v - c->peers[c->id].vectors);
    }
}

static void ivshmem2_client_add_vector(IVShmemClient *c, uint32_t id, int fd)
{
    IVShmemPeer *peer = &c->peers[id];
    IVShmemVector *v;

    if (!peer->vectors) {
        peer->vectors = g_new0(IVShmemVector, c->vectors);
    }
    v = &peer->vectors[peer->num];
    v->client = c;
    event_notifier_init_fd(&v->notifier, fd);
    if (id == c->id) {
        event_notifier_set_handler(&v->notifier, ivshmem2_client_own_event);
    }
    c->ops->vector_added(c, id, peer->num++);
}

static void ivshmem2_client_drop_peer(IVShmemClient *c, uint32_t id)
{
    IVShmemPeer *peer = &c->peers[id];

    while (peer->num) {
        IVShmemVector *v = &peer->vectors[--peer->num];

        c->ops->vector_removed(c, id, peer->num);
        if (id == c->id) {
            event_notifier_set_handler(&v->notifier, NULL);
        }
        event_notifier_cleanup(&v->notifier);
    }
    g_free(peer->vectors);
    peer->vectors = NULL;
}

static void ivshmem2_client_drop_peers(IVShmemClient *c)
{
    uint32_t id;

    for (id = 0; c->peers && id < c->max_peers; id++) {
        ivshmem2_client_drop_peer(c, id);
    }
    g_free(c->peers);
    c->peers = NULL;
}

/* The shared memory */

static void ivshmem2_client_unmap_now(IVShmemMapping *mapping)
{
    munmap(mapping->host, mapping->size);
    g_free(mapping);
}

void ivshmem2_client_unmap(IVShmemClient *c)
{
    IVShmemMapping *mapping;

    if (!c->shmem) {
        return;
    }
    mapping = g_new0(IVShmemMapping, 1);
    mapping->host = c->shmem;
    mapping->size = c->size;
    c->shmem = NULL;
    call_rcu(mapping, ivshmem2_client_unmap_now, rcu);
}

static bool ivshmem2_client_place(IVShmemClient *c, uint64_t output_size,
                                  Error **errp)
{
    uint64_t table_size = ROUND_UP(4ULL * c->max_peers,
                                   IVSHMEM_SERVER_TABLE_ALIGN);
    uint64_t rw_size = c->size - table_size;
    const char *why;

    if (table_size > c->size || output_size > rw_size / c->max_peers) {
        error_setg(errp, "shared memory of %" PRIu64 " bytes is too small for "
                   "%" PRIu32 " peers with output sections of %" PRIu64
                   " bytes", c->size, c->max_peers, output_size);
        return false;
    }
    rw_size -= output_size * c->max_peers;
    why = ivshmem_layout_place(&c->layout, table_size, rw_size, output_size,
                               c->max_peers, qemu_real_host_page_size());
    if (why) {
        error_setg(errp, "%s", why);
        return false;
    }
    return true;
}

static bool ivshmem2_client_map(IVShmemClient *c, int fd, uint64_t output_size,
                                Error **errp)
{
    struct stat st;
    void *host;

    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot size the shared memory");
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 ||
        !is_power_of_2(st.st_size)) {
        error_setg(errp, "shared memory is not a file whose size is a power "
                   "of two");
        return false;
    }
    c->size = st.st_size;
    if (!ivshmem2_client_place(c, output_size, errp)) {
        return false;
    }
    host = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (host == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map the shared memory");
        return false;
    }
    c->shmem = host;
    return true;
}

/* Messages: each returns false if the server broke the protocol */

static bool ivshmem2_client_check_init(const struct ivshmem_msg_init *msg,
                                       Error **errp)
{
    uint32_t version = le32_to_cpu(msg->version);
    uint32_t compatible = le32_to_cpu(msg->compatible_version);
    uint32_t max_peers = le32_to_cpu(msg->max_peers);
    uint32_t vectors = le32_to_cpu(msg->vectors);

    if (version < IVSHMEM_SERVER_VERSION ||
        compatible > IVSHMEM_SERVER_VERSION) {
        error_setg(errp, "server speaks versions %" PRIu32 "..%" PRIu32 " of "
                   "the protocol, not %d", compatible, version,
                   IVSHMEM_SERVER_VERSION);
    } else if (max_peers < IVSHMEM_MIN_PEERS ||
               max_peers > IVSHMEM_MAX_PEERS) {
        error_setg(errp, "maximum number of peers is %" PRIu32 ", not %d..%d",
                   max_peers, IVSHMEM_MIN_PEERS, IVSHMEM_MAX_PEERS);
    } else if (le32_to_cpu(msg->id) >= max_peers) {
        error_setg(errp, "peer id %" PRIu32 " is not below the maximum number "
                   "of peers, %" PRIu32, le32_to_cpu(msg->id), max_peers);
    } else if (vectors < 1 || vectors > IVSHMEM_SERVER_MAX_VECTORS) {
        error_setg(errp, "number of vectors is %" PRIu32 ", not 1..%d",
                   vectors, IVSHMEM_SERVER_MAX_VECTORS);
    } else if (le32_to_cpu(msg->protocol) > UINT16_MAX) {
        error_setg(errp, "protocol type 0x%" PRIx32 " has more than 16 bits",
                   le32_to_cpu(msg->protocol));
    } else {
        return true;
    }
    return false;
}

static bool ivshmem2_client_init(IVShmemClient *c, Error **errp)
{
    const struct ivshmem_msg_init *msg = &c->message.init;
    bool ok;
    int fd;

    if (c->peers) {
        error_setg(errp, "second INIT message");
        return false;
    }
    if (!ivshmem2_client_check_init(msg, errp)) {
        return false;
    }
    fd = ivshmem2_client_take_fd(c);
    if (fd < 0) {
        error_setg(errp, "INIT message without the shared memory");
        return false;
    }
    c->id = le32_to_cpu(msg->id);
    c->max_peers = le32_to_cpu(msg->max_peers);
    c->vectors = le32_to_cpu(msg->vectors);
    c->protocol = le32_to_cpu(msg->protocol);
    ok = ivshmem2_client_map(c, fd, le64_to_cpu(msg->output_section_size),
                             errp);
    close(fd);
    if (!ok) {
        return false;
    }
    c->peers = g_new0(IVShmemPeer, c->max_peers);
    trace_ivshmem2_init(c->id, c->max_peers, c->vectors, c->protocol, c->size);
    return true;
}

/* Anything but an anonymous inode could block, or be readable for ever */
static bool ivshmem2_client_is_eventfd(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && !(st.st_mode & S_IFMT);
}

static bool ivshmem2_client_event_fd(IVShmemClient *c, Error **errp)
{
    uint32_t id = le32_to_cpu(c->message.event_fd.id);
    uint32_t vector = le32_to_cpu(c->message.event_fd.vector);

    if (id >= c->max_peers) {
        error_setg(errp, "EVENT_FD for peer %" PRIu32 " of %" PRIu32, id,
                   c->max_peers);
    } else if (vector >= c->vectors || vector != c->peers[id].num) {
        error_setg(errp, "EVENT_FD for vector %" PRIu32 " of peer %" PRIu32
                   " where %" PRIu32 " of %" PRIu32 " have arrived", vector,
                   id, c->peers[id].num, c->vectors);
    } else if (c->fd < 0 || !ivshmem2_client_is_eventfd(c->fd)) {
        error_setg(errp, "EVENT_FD without an eventfd");
    } else if (!g_unix_set_fd_nonblocking(c->fd, true, NULL)) {
        error_setg_errno(errp, errno, "cannot make an eventfd non-blocking");
    } else {
        trace_ivshmem2_event_fd(id, vector);
        ivshmem2_client_add_vector(c, id, ivshmem2_client_take_fd(c));
        return true;
    }
    return false;
}

static bool ivshmem2_client_peer_gone(IVShmemClient *c, Error **errp)
{
    uint32_t id = le32_to_cpu(c->message.peer_gone.id);

    if (id >= c->max_peers || id == c->id) {
        error_setg(errp, "PEER_GONE for peer %" PRIu32 " of %" PRIu32 " to "
                   "peer %" PRIu32, id, c->max_peers, c->id);
        return false;
    }
    trace_ivshmem2_peer_gone(id);
    ivshmem2_client_drop_peer(c, id);
    if (c->phase == IVSHMEM2_CLIENT_RUNNING) {
        c->ops->event(c, IVSHMEM_VECTOR_STATE);
    }
    return true;
}

static uint32_t ivshmem2_client_min_len(uint32_t type)
{
    switch (type) {
    case IVSHMEM_MSG_INIT:
        return sizeof(struct ivshmem_msg_init);
    case IVSHMEM_MSG_EVENT_FD:
        return sizeof(struct ivshmem_msg_event_fd);
    case IVSHMEM_MSG_PEER_GONE:
        return sizeof(struct ivshmem_msg_peer_gone);
    default:
        return sizeof(struct ivshmem_msg_header);
    }
}

static bool ivshmem2_client_check_header(IVShmemClient *c, Error **errp)
{
    uint32_t type = le32_to_cpu(c->message.header.type);
    uint32_t len = le32_to_cpu(c->message.header.len);

    if (len < ivshmem2_client_min_len(type) || len > IVSHMEM2_CLIENT_MAX_LEN) {
        error_setg(errp, "message of type %" PRIu32 " has a length of %" PRIu32
                   " bytes", type, len);
        return false;
    }
    if (!c->peers && type != IVSHMEM_MSG_INIT) {
        error_setg(errp, "message of type %" PRIu32 " before INIT", type);
        return false;
    }
    return true;
}

static bool ivshmem2_client_dispatch(IVShmemClient *c, Error **errp)
{
    switch (le32_to_cpu(c->message.header.type)) {
    case IVSHMEM_MSG_INIT:
        return ivshmem2_client_init(c, errp);
    case IVSHMEM_MSG_EVENT_FD:
        return ivshmem2_client_event_fd(c, errp);
    case IVSHMEM_MSG_PEER_GONE:
        return ivshmem2_client_peer_gone(c, errp);
    default:
        trace_ivshmem2_skip(le32_to_cpu(c->message.header.type),
                            le32_to_cpu(c->message.header.len));
        return true;
    }
}

/* The stream */

static void ivshmem2_client_deafen(IVShmemClient *c)
{
    qemu_chr_fe_set_handlers(&c->chr, NULL, NULL, NULL, NULL, NULL, NULL,
                             true);
}

/*
 * The socket stays open: while it does, the server gives the id to nobody
 * else, so the output section keeps one writer.
 */
static void ivshmem2_client_fail(IVShmemClient *c, Error *err)
{
    if (c->phase == IVSHMEM2_CLIENT_SETUP) {
        error_propagate(&c->setup_error, err);
        return;
    }
    c->phase = IVSHMEM2_CLIENT_DETACHED;
    ivshmem2_client_deafen(c);
    warn_report("ivshmem: server at chardev '%s': %s; going on with the peers "
                "known so far", ivshmem2_client_name(c),
                error_get_pretty(err));
    error_free(err);
}

/* One more piece, which ends at the end of the message at the latest */
static int ivshmem2_client_can_read(void *opaque)
{
    IVShmemClient *c = opaque;

    if (c->setup_error ||
        (c->phase == IVSHMEM2_CLIENT_SETUP && ivshmem2_client_complete(c))) {
        return 0;
    }
    if (c->have < sizeof(c->message.header)) {
        return sizeof(c->message.header) - c->have;
    }
    return le32_to_cpu(c->message.header.len) - c->have;
}

/* Keep the first descriptor of a message; no message has a second */
static void ivshmem2_client_receive_fds(IVShmemClient *c)
{
    int fds[IVSHMEM2_CLIENT_MAX_FDS];
    int num = qemu_chr_fe_get_msgfds(&c->chr, fds, ARRAY_SIZE(fds));
    int i;

    for (i = 0; i < num; i++) {
        if (c->fd < 0) {
            c->fd = fds[i];
        } else {
            close(fds[i]);
        }
    }
}

static void ivshmem2_client_read(void *opaque, const uint8_t *buf, int size)
{
    IVShmemClient *c = opaque;
    Error *err = NULL;

    ivshmem2_client_receive_fds(c);
    if (c->have < sizeof(c->message)) {
        memcpy(c->message.bytes + c->have, buf,
               MIN((size_t)size, sizeof(c->message) - c->have));
    }
    c->have += size;
    if (c->have < sizeof(c->message.header)) {
        return;
    }
    if (c->have == sizeof(c->message.header) &&
        !ivshmem2_client_check_header(c, &err)) {
        goto fail;
    }
    if (c->have < le32_to_cpu(c->message.header.len)) {
        return;
    }
    c->have = 0;
    if (!ivshmem2_client_dispatch(c, &err)) {
        goto fail;
    }
    ivshmem2_client_close_fd(c);
    return;

fail:
    ivshmem2_client_close_fd(c);
    ivshmem2_client_fail(c, err);
}

static void ivshmem2_client_chr_event(void *opaque, QEMUChrEvent event)
{
    IVShmemClient *c = opaque;
    Error *err = NULL;

    if (event != CHR_EVENT_CLOSED || c->setup_error) {
        return;
    }
    error_setg(&err, c->peers ? "the connection is closed" :
               "the connection is closed (no free peer id?)");
    ivshmem2_client_fail(c, err);
}

static gboolean ivshmem2_client_timeout(gpointer opaque)
{
    IVShmemClient *c = opaque;

    if (!c->setup_error && !ivshmem2_client_complete(c)) {
        error_setg(&c->setup_error, "no complete answer within %u ms",
                   c->setup_ms);
    }
    return G_SOURCE_REMOVE;
}

static void ivshmem2_client_listen(IVShmemClient *c, GMainContext *context)
{
    qemu_chr_fe_set_handlers(&c->chr, ivshmem2_client_can_read,
                             ivshmem2_client_read, ivshmem2_client_chr_event,
                             NULL, c, context, true);
}

/* A loop of its own: nothing else of the machine may run half-way through */
static void ivshmem2_client_set_up(IVShmemClient *c)
{
    GMainContext *context = g_main_context_new();
    GSource *timer = g_timeout_source_new(c->setup_ms);

    g_source_set_callback(timer, ivshmem2_client_timeout, c, NULL);
    g_source_attach(timer, context);
    ivshmem2_client_listen(c, context);
    while (!c->setup_error && !ivshmem2_client_complete(c)) {
        g_main_context_iteration(context, true);
    }
    ivshmem2_client_deafen(c);
    g_source_destroy(timer);
    g_source_unref(timer);
    g_main_context_unref(context);
}

static bool ivshmem2_client_check_chardev(IVShmemClient *c, Error **errp)
{
    Chardev *chr = qemu_chr_fe_get_driver(&c->chr);

    if (!chr) {
        error_setg(errp, "property 'chardev' is not set: give the socket of "
                   "an ivshmem2 server");
        return false;
    }
    if (!qemu_chr_fe_backend_open(&c->chr) ||
        !qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_FD_PASS) ||
        !qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_GCONTEXT)) {
        error_setg(errp, "chardev '%s' is not a UNIX socket connected to an "
                   "ivshmem2 server", chr->label);
        return false;
    }
    return true;
}

bool ivshmem2_client_connect(IVShmemClient *c, const IVShmemClientOps *ops,
                             bool hotplugged, Error **errp)
{
    if (!ivshmem2_client_check_chardev(c, errp)) {
        return false;
    }
    c->ops = ops;
    c->setup_ms = hotplugged ? IVSHMEM2_CLIENT_PLUG_MS : IVSHMEM2_CLIENT_SETUP_MS;
    c->fd = -1;
    c->phase = IVSHMEM2_CLIENT_SETUP;
    ivshmem2_client_set_up(c);
    if (c->setup_error) {
        error_prepend(&c->setup_error, "server at chardev '%s': ",
                      ivshmem2_client_name(c));
        error_propagate(errp, c->setup_error);
        c->setup_error = NULL;
        ivshmem2_client_close(c);
        return false;
    }
    c->phase = IVSHMEM2_CLIENT_RUNNING;
    ivshmem2_client_listen(c, NULL);
    return true;
}

void ivshmem2_client_close(IVShmemClient *c)
{
    if (c->phase == IVSHMEM2_CLIENT_CLOSED) {
        return;
    }
    c->phase = IVSHMEM2_CLIENT_CLOSED;
    ivshmem2_client_deafen(c);
    /* The chardev outlives the device; the server must not wait for it */
    qemu_chr_fe_disconnect(&c->chr);
    ivshmem2_client_close_fd(c);
    ivshmem2_client_drop_peers(c);
}

/* What the device asks for */

void ivshmem2_client_kick(IVShmemClient *c, uint32_t id, uint32_t vector)
{
    if (ivshmem2_client_has(c, id, vector)) {
        /*
         * What this CPU wrote to the shared memory must be seen before the
         * count. Pairs with the lock of the eventfd, which the receiver takes
         * to read it; a doorbell that is an ioeventfd relies on that alone.
         */
        smp_wmb();
        event_notifier_set(&c->peers[id].vectors[vector].notifier);
    }
}

bool ivshmem2_client_set_state(IVShmemClient *c, uint32_t state)
{
    uint32_t *entry = (uint32_t *)c->shmem + c->id;
    bool changed = qatomic_read(entry) != cpu_to_le32(state);

    qatomic_set(entry, cpu_to_le32(state));
    return changed;
}

void ivshmem2_client_kick_others(IVShmemClient *c)
{
    uint32_t id;

    for (id = 0; id < c->max_peers; id++) {
        if (id != c->id) {
            ivshmem2_client_kick(c, id, IVSHMEM_VECTOR_STATE);
        }
    }
}
