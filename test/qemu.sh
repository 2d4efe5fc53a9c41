#!/bin/sh
# Makes DIR/qemu-system-x86_64, for the PATH of whoever boots emulated machines
# here: the host's own where that is 8.1 or newer, else Debian 13's.
#
# Older ones may translate code that another processor is just changing, so that
# a kernel with several processors meets an int3 that is nobody's and panics
# (QEMU's commit deba78709a mends it). They are slower, too.
set -eu
dir=$1
test ! -x "$dir/qemu-system-x86_64" || exit 0
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
host=$(command -v qemu-system-x86_64)
version=$("$host" --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
if [ "$(printf '%s\n8.1\n' "$version" | sort -V | head -n 1)" = 8.1 ]; then
	ln -sf "$host" "$dir/qemu-system-x86_64"
	exit 0
fi
tree=$dir/debian-13
rm -rf "$tree"
mmdebstrap --quiet --variant=extract --include=qemu-system-x86 trixie "$tree" >&2
cat >"$dir/part" <<END
#!/bin/sh
lib=$tree/usr/lib/x86_64-linux-gnu
exec "\$lib/ld-linux-x86-64.so.2" --library-path "\$lib" $tree/usr/bin/qemu-system-x86_64 \\
	-L $tree/usr/share/qemu -L $tree/usr/share/seabios "\$@"
END
chmod +x "$dir/part"
mv "$dir/part" "$dir/qemu-system-x86_64"
