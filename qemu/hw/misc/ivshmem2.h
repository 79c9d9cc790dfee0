/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ivshmem v2: the client of the server protocol, as the device sees it
 *
 * The client knows the shared memory, its layout and the peers; it knows
 * nothing of PCI or of interrupts. All of it runs under the BQL.
 */
#ifndef HW_MISC_IVSHMEM2_H
#define HW_MISC_IVSHMEM2_H

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/event_notifier.h"
#include "chardev/char-fe.h"
#include "ivshmem2-compat.h"

#include <linux/ivshmem.h>
#include <linux/ivshmem-layout.h>
#include <linux/ivshmem_server.h>

typedef struct IVShmemClient IVShmemClient;

/**
 * IVShmemVector: what interrupts one vector of one peer
 * @notifier: the eventfd of the server
 * @client: whose peer this is
 * @user: free for the user of the client, false at first
 */
typedef struct IVShmemVector {
    EventNotifier notifier;
    IVShmemClient *client;
    bool user;
} IVShmemVector;

/**
 * IVShmemPeer: one peer, present if it has vectors
 * @vectors: room for as many as INIT said, or NULL
 * @num: how many of them have arrived
 */
typedef struct IVShmemPeer {
    IVShmemVector *vectors;
    uint32_t num;
} IVShmemPeer;

/**
 * IVShmemClientOps: what the client tells its user
 * @vector_added: @vector of peer @id can be kicked now
 * @vector_removed: it is closed when this returns
 * @event: own @vector was kicked, or 0 because a peer is gone
 */
typedef struct IVShmemClientOps {
    void (*vector_added)(IVShmemClient *c, uint32_t id, uint32_t vector);
    void (*vector_removed)(IVShmemClient *c, uint32_t id, uint32_t vector);
    void (*event)(IVShmemClient *c, uint32_t vector);
} IVShmemClientOps;

typedef enum IVShmemClientPhase {
    IVSHMEM2_CLIENT_CLOSED,
    IVSHMEM2_CLIENT_SETUP,
    IVSHMEM2_CLIENT_RUNNING,
    /* The server is dead or speaks nonsense: the peers stay as they are */
    IVSHMEM2_CLIENT_DETACHED,
} IVShmemClientPhase;

/**
 * IVShmemClient: one connection to a server
 * @chr: the socket; set by the property "chardev" of the device
 * @ops: set by ivshmem2_client_connect()
 * @phase: life of the connection
 * @setup_ms: time for the set-up
 * @setup_error: why the set-up failed, or NULL
 * @id: of this peer
 * @max_peers: length of @peers
 * @vectors: of every peer
 * @protocol: IVSHMEM_PROTO_*
 * @layout: of the shared memory
 * @shmem: the shared memory, mapped for reading and writing
 * @size: bytes of @shmem, a power of two
 * @peers: all of them, by id; this one too
 * @message: start of the message that is being received
 * @have: bytes of it received so far, those beyond @message included
 * @fd: descriptor that came with it, or -1
 */
struct IVShmemClient {
    CharFrontend chr;
    const IVShmemClientOps *ops;
    IVShmemClientPhase phase;
    unsigned int setup_ms;
    Error *setup_error;

    uint32_t id;
    uint32_t max_peers;
    uint32_t vectors;
    uint32_t protocol;
    struct ivshmem_layout layout;
    uint8_t *shmem;
    uint64_t size;
    IVShmemPeer *peers;

    union {
        struct ivshmem_msg_header header;
        struct ivshmem_msg_init init;
        struct ivshmem_msg_event_fd event_fd;
        struct ivshmem_msg_peer_gone peer_gone;
        uint8_t bytes[sizeof(struct ivshmem_msg_init)];
    } message;
    uint32_t have;
    int fd;
};

/**
 * ivshmem2_client_connect: talk to the server until this peer is complete
 *
 * Takes a few seconds at most, less than one if @hotplugged: the machine runs,
 * and stands still meanwhile. On failure nothing is left open.
 *
 * Returns: true on success
 */
bool ivshmem2_client_connect(IVShmemClient *c, const IVShmemClientOps *ops,
                             bool hotplugged, Error **errp);

/* Let go of the server and of every peer; @shmem stays */
void ivshmem2_client_close(IVShmemClient *c);

/* Unmap @shmem as soon as no CPU and no device can be using it */
void ivshmem2_client_unmap(IVShmemClient *c);

/* Interrupt a peer; one that is not there is no error */
void ivshmem2_client_kick(IVShmemClient *c, uint32_t id, uint32_t vector);

/* Write this peer's entry of the State Table; false if it was the same */
bool ivshmem2_client_set_state(IVShmemClient *c, uint32_t state);

/* Make all others look at the State Table */
void ivshmem2_client_kick_others(IVShmemClient *c);

#endif /* HW_MISC_IVSHMEM2_H */
