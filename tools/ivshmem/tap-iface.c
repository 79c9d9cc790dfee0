// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem-tap: the TAP interface. The kernel computes checksums and segments
 * on its own what the peer cannot take, and checks what is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "tap.h"

#define TAP_IFACE_DEVICE	"/dev/net/tun"

/* Newer than some systems' headers */
#ifndef TUN_F_USO4
#define TUN_F_USO4		0x20
#define TUN_F_USO6		0x40
#endif

#define TAP_IFACE_USO		(TUN_F_USO4 | TUN_F_USO6)

static int tap_iface_fail(const char *name, int err)
{
	switch (err) {
	case EPERM:
		tap_log("%s: not permitted; let root do: ip tuntap add dev %s mode tap user %u",
			name, strchr(name, '%') ? "NAME" : name, geteuid());
		break;
	case EBUSY:
		tap_log("%s: another program has it", name);
		break;
	case EINVAL:
		tap_log("%s: no TAP interface with one queue, or no name of one", name);
		break;
	default:
		tap_log("%s: %s", name, strerror(err));
	}
	return -err;
}

static int tap_iface_open_device(void)
{
	int fd = open(TAP_IFACE_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err = errno;

	if (fd >= 0)
		return fd;
	if (err == ENOENT || err == ENODEV || err == ENXIO)
		tap_log("%s: %s; the kernel needs its driver: modprobe tun",
			TAP_IFACE_DEVICE, strerror(err));
	else if (err == EACCES || err == EPERM)
		tap_log("%s: %s; root lets everybody use it: chmod 666 %s",
			TAP_IFACE_DEVICE, strerror(err), TAP_IFACE_DEVICE);
	else
		tap_log("%s: %s", TAP_IFACE_DEVICE, strerror(err));
	return -err;
}

static int tap_iface_attach(struct tap_iface *iface, const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int hdr_bytes = sizeof(struct virtio_net_hdr), little_endian = 1;

	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(iface->fd, TUNSETIFF, &request) ||
	    ioctl(iface->fd, TUNSETVNETHDRSZ, &hdr_bytes) ||
	    ioctl(iface->fd, TUNSETVNETLE, &little_endian))
		return -errno;
	memcpy(iface->name, request.ifr_name, IFNAMSIZ);
	return 0;
}

static bool tap_iface_offload(const struct tap_iface *iface, unsigned int flags)
{
	return !ioctl(iface->fd, TUNSETOFFLOAD, flags);
}

/* What the kernel can hand out it can take in */
static uint32_t tap_iface_probe(const struct tap_iface *iface)
{
	uint32_t features = IVSHMEM_NET_F_VNET_HDR;

	if (tap_iface_offload(iface, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
		features |= IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4 | IVSHMEM_NET_F_TSO6;
	if (tap_iface_offload(iface, TUN_F_CSUM | TAP_IFACE_USO))
		features |= IVSHMEM_NET_F_USO;
	return features;
}

int tap_iface_open(struct tap_iface *iface, const char *name)
{
	int ret;

	*iface = (struct tap_iface) { .fd = tap_iface_open_device() };
	if (iface->fd < 0)
		return iface->fd;
	ret = tap_iface_attach(iface, name);
	if (ret) {
		close(iface->fd);
		return tap_iface_fail(name, -ret);
	}
	iface->features = tap_iface_probe(iface);
	tap_iface_set_features(iface, 0);
	tap_iface_set_carrier(iface, false);
	return 0;
}

void tap_iface_close(struct tap_iface *iface)
{
	close(iface->fd);
}

void tap_iface_set_features(struct tap_iface *iface, uint32_t features)
{
	unsigned int flags = 0;

	if (features & IVSHMEM_NET_F_CSUM)
		flags |= TUN_F_CSUM;
	if (features & IVSHMEM_NET_F_TSO4)
		flags |= TUN_F_TSO4;
	if (features & IVSHMEM_NET_F_TSO6)
		flags |= TUN_F_TSO6;
	if (features & IVSHMEM_NET_F_USO)
		flags |= TAP_IFACE_USO;
	if (!tap_iface_offload(iface, flags))
		tap_log("%s: offload: %s", iface->name, strerror(errno));
}

void tap_iface_set_carrier(struct tap_iface *iface, bool on)
{
	int carrier = on;

	if (ioctl(iface->fd, TUNSETCARRIER, &carrier))
		tap_log("%s: carrier: %s", iface->name, strerror(errno));
}

/* After a call that failed: errno */
static void tap_iface_failed(struct tap_iface *iface)
{
	if (errno == EBADFD)
		iface->gone = true;
}

size_t tap_iface_read(struct tap_iface *iface, void *place, size_t room,
		      bool hdr_in_place, struct virtio_net_hdr *hdr)
{
	struct iovec parts[] = {
		{ .iov_base = hdr, .iov_len = sizeof(*hdr) },
		{ .iov_base = place, .iov_len = room },
		{ .iov_base = iface->rest, .iov_len = sizeof(iface->rest) },
	};
	ssize_t ret = hdr_in_place ? readv(iface->fd, parts + 1, 2) :
				     readv(iface->fd, parts, 3);

	if (ret < 0)
		tap_iface_failed(iface);
	if (ret < (ssize_t)sizeof(*hdr))
		return 0;
	if (!hdr_in_place)
		return ret - sizeof(*hdr);
	memcpy(hdr, place, sizeof(*hdr));
	return ret;
}

bool tap_iface_write(struct tap_iface *iface, const void *data, size_t len,
		     bool hdr_in_place)
{
	struct virtio_net_hdr none = { 0 };
	struct iovec parts[] = {
		{ .iov_base = &none, .iov_len = sizeof(none) },
		{ .iov_base = (void *)data, .iov_len = len },
	};
	ssize_t ret = hdr_in_place ? write(iface->fd, data, len) :
				     writev(iface->fd, parts, 2);

	if (ret < 0)
		tap_iface_failed(iface);
	return ret >= 0;
}
