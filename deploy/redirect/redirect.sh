#!/bin/sh
# Redirects what a pod sends to the ports of routed hosts to cambist. Runs in an init container with NET_ADMIN:
#
#   redirect --uid UID --redirect PORT:LISTEN_PORT [--redirect PORT:LISTEN_PORT]...
#
# UID is the user of cambist, whose own connections leave the pod. LISTEN_PORT is a port of `intercept.listen`.
# Exits with an error, so that the pod does not start, unless the kernel then has exactly these rules.
set -eu

fail() {
  printf 'cambist-redirect: %s\n' "$1" >&2
  exit 1
}

# is_number TEXT MAX: without leading zeros, because nft prints none.
is_number() {
  case $1 in
    '' | 0* | *[!0-9]* | ???????????*) return 1 ;;
  esac
  [ "$1" -le "$2" ]
}

uid=
redirected=
rejected=
forwarded=
ports=' '
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || fail "missing value of $1"
  case $1 in
    --uid)
      # Otherwise each container that runs as root would be exempt.
      [ "$2" != 0 ] || fail '--uid 0: let cambist run as another user than root'
      is_number "$2" 4294967294 || fail "invalid --uid \"$2\": must be a number"
      uid=$2
      ;;
    --redirect)
      port=${2%%:*}
      listen=${2#*:}
      if [ "$port" = "$2" ] || ! is_number "$port" 65535 || ! is_number "$listen" 65535; then
        fail "invalid --redirect \"$2\": must be PORT:LISTEN_PORT, as in 443:15443"
      fi
      case $ports in
        *" $port "*) fail "port $port is redirected twice" ;;
      esac
      ports="$ports$port "
      redirected="$redirected
		tcp dport $port redirect to :$listen"
      # A packet that no redirection took, and HTTP/3, which cambist does not serve.
      rejected="$rejected
		tcp dport $port ct state invalid,new,untracked reject with tcp reset
		udp dport $port reject"
      # Containers that the agent starts in networks of their own.
      forwarded="$forwarded
		tcp dport $port reject with tcp reset
		udp dport $port reject"
      ;;
    *) fail "unknown option \"$1\"" ;;
  esac
  shift 2
done
[ -n "$uid" ] || fail 'missing --uid: the user of cambist'
[ -n "$redirected" ] || fail 'missing --redirect: a port of the routed hosts'

# In the words in which nft lists rules, to compare both. `inet` is IPv4 and IPv6. A redirected connection arrives at loopback.
rules="table inet cambist {
	chain redirected {
		type nat hook output priority -100; policy accept;
		meta skuid $uid return
		oifname \"lo\" return$redirected
	}

	chain rejected {
		type filter hook output priority 0; policy accept;
		meta skuid $uid return
		oifname \"lo\" return$rejected
	}

	chain forwarded {
		type filter hook forward priority 0; policy accept;$forwarded
	}
}"

# One transaction replaces the table of an earlier run. A table must exist to be deleted.
output=$(printf 'table inet cambist\ndelete table inet cambist\n%s\n' "$rules" | nft -f - 2>&1) ||
  fail "the kernel refused the rules; this container needs NET_ADMIN, and the node Linux 5.2 with nf_tables: $output"
found=$(nft -y list table inet cambist 2>&1) || fail "the rules cannot be read back: $found"
[ "$found" = "$rules" ] || fail "the kernel has other rules than those that were loaded: $found"
printf 'cambist-redirect: redirected TCP to ports%sexcept that of user %s, and rejected UDP\n' "$ports" "$uid"
