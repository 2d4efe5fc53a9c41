#!/bin/bash
# The end of a boot that cannot go on: one clear line, then nothing. The
# machine stays as it is, for whoever reads its console.
# shellcheck source=say.sh
. /usr/lib/imgbuild/say.sh
reason=
if [[ -s /run/imgbuild/stop ]]; then
    reason=$(< /run/imgbuild/stop)
else
    failed=$(systemctl --failed --plain --no-legend | { read -r unit _; echo "${unit:-}"; })
    if [[ -n $failed ]]; then
        reason="$failed failed: $(journalctl -b -u "$failed" -p err -o cat -n 1 2> /dev/null)"
    else
        reason="the boot failed before the root file system was ready"
    fi
    if journalctl -b -k -o cat 2> /dev/null | grep -q 'device-mapper: verity: .*corrupted'; then
        reason="the root file system is corrupt (dm-verity): its content is not what was built; install the node again"
    fi
fi
say "stop: $reason"
exec sleep infinity
