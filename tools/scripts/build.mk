# SPDX-License-Identifier: GPL-2.0
# What every Makefile below tools/ shares. Results go to build/: programs to
# build/bin, libraries to build/lib, objects to build/obj.

ROOT	:= $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../..)
BUILD	?= $(ROOT)/build
BIN	:= $(BUILD)/bin
LIB	:= $(BUILD)/lib
OBJ	:= $(BUILD)/obj/$(patsubst $(ROOT)/%,%,$(CURDIR))
VERSION	:= $(shell cat $(ROOT)/VERSION)

CFLAGS	?= -O2 -g
WARN	:= -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes \
	   -Wdeclaration-after-statement -Wshadow -Wformat=2 -Wvla
COMMON	= -std=gnu11 -D_GNU_SOURCE -DIVSHMEM_VERSION='"$(VERSION)"' \
	  -I$(ROOT)/include/uapi -I$(ROOT)/include -I$(ROOT)/tools/lib \
	  $(WARN) -MMD -MP

# Where make install puts things
DESTDIR	?=
PREFIX	?= /usr/local
BINDIR	?= $(PREFIX)/bin
LIBDIR	?= $(PREFIX)/lib
INCDIR	?= $(PREFIX)/include
MANDIR	?= $(PREFIX)/share/man
UNITDIR	?= $(PREFIX)/lib/systemd/system
UDEVDIR	?= $(PREFIX)/lib/udev/rules.d
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
INSTALL	?= install

$(OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) $(CFLAGS) -fPIC -c -o $@ $<

-include $(wildcard $(OBJ)/*.d)
