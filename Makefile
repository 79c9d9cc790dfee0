# SPDX-License-Identifier: GPL-2.0
# Targets; the objects of the modules are in Kbuild. See `make help`.

BUILD	:= $(CURDIR)/build
TESTS	:= tools/testing/selftests/ivshmem
export BUILD

# Which kernel: KERNELDIR=path/to/headers, or KVER=release for the headers in
# /lib/modules, or KVER=6.1 or 6.12 for Debian's, unpacked under build/.
KVERS	:= 6.1 6.12
ifneq ($(filter $(KVER),$(KVERS)),)
KERNELDIR ?= $(BUILD)/kernels/$(KVER)/headers
else
KVER	?= $(shell uname -r)
KERNELDIR ?= /lib/modules/$(KVER)/build
endif

# Without vmlinux or pahole no BTF for modules can be made; the kernel's
# build would complain or stop.
no-btf = $(if $(and $(wildcard $(1)/vmlinux),$(shell command -v pahole)),,CONFIG_DEBUG_INFO_BTF_MODULES=)
# Nor can modules be signed without the kernel's key.
no-sig = $(if $(wildcard $(1)/certs/signing_key.pem),,CONFIG_MODULE_SIG_ALL=)
kbuild = $(MAKE) -C $(1) M=$(2) $(call no-btf,$(1)) $(call no-sig,$(1)) $(3)

all: modules tools

help:
	@echo 'Build'
	@echo '  all           modules and tools (default)'
	@echo '  modules       kernel modules, beside their sources;'
	@echo '                KERNELDIR=dir, KVER=release, or KVER=6.1|6.12 for'
	@echo '                Debian headers that are fetched to build/kernels'
	@echo '  tools         server, library, command line, back ends, to build/bin and build/lib'
	@echo '  qemu          the device for the installed QEMU:'
	@echo '                build/qemu-system-x86_64-ivshmem; QEMU_SRC=dir'
	@echo '  install       modules, tools, udev rules, units, man pages;'
	@echo '                DESTDIR=, PREFIX=/usr/local; also modules_install,'
	@echo '                tools_install'
	@echo '  clean         all that was built; kernels fetched stay'
	@echo '  distclean     build/ as a whole'
	@echo 'Try and test'
	@echo '  demo          two guests that share memory, on one screen'
	@echo '  test          everything that CI runs'
	@echo '  check         static gates: checkpatch, W=1, sparse, kernel-doc, ...'
	@echo '  check-host    tests that need no guest'
	@echo '  kunit         KUnit suites in user-mode Linux; KVER=6.1|6.12, else both;'
	@echo '                T=name of one suite, with wildcards; COVERAGE=1 says'
	@echo '                which lines of the drivers they do not run (6.12)'
	@echo '  check-vm      tests in guests; T=name of one test file, KVER=6.1|6.12;'
	@echo '                DEBUG=1 on a kernel with KASAN, lockdep, ... built here,'
	@echo '                DEBUG=kcsan on one that looks for data races'
	@echo '  model         search the models of the handshakes and rings exhaustively'
	@echo '  fuzz          throw nonsense at all parsers; TIME=seconds, 60 in all'
	@echo '  hostile       hostile peers, clients and servers at native speed;'
	@echo '                TIME=seconds for all (420), SEED=number, T=target, KVER=6.1|6.12'
	@echo '  soak          traffic on all devices, and all kinds of deaths and returns;'
	@echo '                TIME=seconds (600), SEED=number, KVER=6.1|6.12|both'
	@echo '  bench         measure; T=virtio, which is the default, or T=net:'
	@echo '                table, plot and JSON in build/bench; BENCH=--quick'
	@echo '                for one short run'
	@echo '  deps          install the Debian packages that these need'

# --- modules ---------------------------------------------------------------

$(BUILD)/kernels/%/headers:
	@scripts/fetch-kernel.sh $*

$(BUILD)/kernels/%-debug/headers:
	@scripts/build-debug-kernel.sh $* debug

$(BUILD)/kernels/%-kcsan/headers:
	@scripts/build-debug-kernel.sh $* kcsan

kernels: $(KVERS:%=$(BUILD)/kernels/%/headers)

modules: $(filter $(BUILD)/%,$(KERNELDIR))
	@test -e $(KERNELDIR)/Makefile || { \
		echo 'No kernel headers in $(KERNELDIR).'; \
		echo 'Install linux-headers-$(KVER), or give KERNELDIR=dir, or KVER=6.1 to fetch Debian headers to build/.'; \
		exit 1; } >&2
	$(call kbuild,$(KERNELDIR),$(CURDIR),W=1 modules)

modules_install: modules
	$(call kbuild,$(KERNELDIR),$(CURDIR),INSTALL_MOD_PATH=$(DESTDIR) modules_install)

# For the tests, one tree for each kernel, of links to the sources: what was
# built beside the sources, and for which kernel, does not matter to them.
module-src := $(shell find Kbuild Kconfig compat include drivers ! -name '*.mod.c' \
		-name '*.[ch]' -o -name 'K*' -o -name Makefile)

$(BUILD)/modules/%/.built: $(module-src) | $(BUILD)/kernels/%/headers
	@mkdir -p $(@D) && find $(@D) -xtype l -delete
	@mkdir -p $(addprefix $(@D)/,$(sort $(dir $(module-src))))
	@$(foreach f,$(module-src),ln -sf $(CURDIR)/$f $(@D)/$f;)
	@echo 'Building the modules for $*'
	@$(call kbuild,$(BUILD)/kernels/$*/headers,$(@D),W=1 modules) > $(@D)/log 2>&1 || { cat $(@D)/log; exit 1; }
	@! grep -i warning $(@D)/log
	@touch $@

test-modules: $(KVERS:%=$(BUILD)/modules/%/.built)

# --- tools and the device --------------------------------------------------

tools:
	$(MAKE) -C tools/lib/ivshmem
	$(MAKE) -C tools/ivshmem
	$(MAKE) -C tools/virtio

qemu:
	$(MAKE) -C qemu

tools_install: tools
	$(MAKE) -C tools/lib/ivshmem install
	$(MAKE) -C tools/ivshmem install
	$(MAKE) -C tools/virtio install

install: modules_install tools_install

# --- try and test ----------------------------------------------------------

deps:
	scripts/deps.sh

demo:
	scripts/deps.sh build qemu guest
	$(MAKE) tools qemu test-modules
	python3 $(TESTS)/demo.py

check:
	scripts/deps.sh build check
	$(MAKE) kernels
	scripts/check.sh

test-deps:
	scripts/deps.sh
	$(MAKE) tools qemu test-modules

check-host: test-deps
	cd $(TESTS) && pytest-3 -m 'not guest'

kunit:
	scripts/deps.sh kernels
	@set -e; for kver in $(or $(filter $(KVERS),$(KVER)),$(if $(COVERAGE),6.12,$(KVERS))); do \
		COVERAGE=$(COVERAGE) scripts/kunit.sh $$kver $(if $(T),'$(T)'); \
	done

check-vm: checks = $(patsubst 1,debug,$(DEBUG))
check-vm: KVERS_TESTED = $(if $(DEBUG),$(or $(filter $(KVERS),$(KVER)),6.1)-$(checks),$(filter $(KVERS),$(KVER)))
check-vm: test-deps
	$(if $(DEBUG),scripts/deps.sh kernels && $(MAKE) $(KVERS_TESTED:%=$(BUILD)/modules/%/.built))
	cd $(TESTS) && KVERS='$(KVERS_TESTED)' pytest-3 -m guest $(if $(T),test_$(T).py)

test: test-deps
	cd $(TESTS) && pytest-3

model:
	scripts/deps.sh test
	tools/testing/model/check.sh

fuzz: TIME = 60
fuzz:
	scripts/deps.sh build qemu test
	$(MAKE) -C tools/testing/fuzz
	TIME=$(TIME) tools/testing/fuzz/run.sh

hostile: TIME = 420
hostile:
	scripts/deps.sh build qemu guest test
	$(MAKE) tools qemu test-modules
	tools/testing/hostile/hostile.py --time $(TIME) $(if $(SEED),--seed $(SEED)) \
		$(if $(filter $(KVERS),$(KVER)),--kver $(KVER)) $(T)

soak: TIME = 600
soak:
	scripts/deps.sh build qemu guest test
	$(MAKE) tools qemu test-modules
	tools/testing/soak/soak.py --time $(TIME) $(if $(SEED),--seed $(SEED)) \
		$(if $(filter both $(KVERS),$(KVER)),--kver $(KVER))

bench: T = virtio
bench:
	scripts/deps.sh build qemu guest bench
	$(MAKE) tools qemu test-modules
	tools/testing/bench/bench.py $(BENCH) $(T)

clean:
	rm -rf $(BUILD)/bin $(BUILD)/lib $(BUILD)/obj $(BUILD)/modules $(BUILD)/logs
	find drivers Module.symvers modules.order .Module.symvers.cmd .modules.order.cmd \
		\( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name modules.order -o -name Module.symvers \) -delete 2>/dev/null || true

distclean: clean
	rm -rf $(BUILD)

.SECONDARY:
.PHONY: all help kernels modules modules_install tools tools_install install qemu deps \
	demo bench check model fuzz hostile soak check-host check-vm kunit test test-deps test-modules clean distclean
