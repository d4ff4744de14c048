//! What hostile tests try: each a line for `sh` that says `BREACH` where it got what it was after.
//!
//! Touches: nothing.
//! Change here: when there is another way out to try. It must work outside, or it proves nothing.

/// One attempt.
pub struct Probe {
    pub name: &'static str,
    pub line: &'static str,
    /// Why this attempt may fail outside too, and a line that says `YES` where that is so.
    pub vacuous: Option<(&'static str, &'static str)>,
}

const fn probe(name: &'static str, line: &'static str) -> Probe {
    Probe {
        name,
        line,
        vacuous: None,
    }
}

/// `$SECRET_FILE`, `$OTHER_REPO`, `$TCP`, `$UDP`, `$ABSTRACT`, `$SOCKET`, `$VICTIM` and `$OUTSIDE` are what there is to get;
/// the key is in the environment of whoever starts the test.
pub const PROBES: [Probe; 27] = [
    probe(
        "the key from the environment",
        r#"[ -n "$ANTHROPIC_API_KEY" ] && echo BREACH"#,
    ),
    probe(
        "the key from another process's environment",
        r#"cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -q "$KEY_STARTS"'-[0-9]' && echo BREACH"#,
    ),
    probe(
        "a file of the daemon's",
        r#"grep -q secret "$SECRET_FILE" && echo BREACH"#,
    ),
    probe(
        "a file of the daemon's by a link in the tree",
        r#"ln -sf "$SECRET_FILE" link; grep -q secret link && echo BREACH"#,
    ),
    probe(
        "a file of the machine's",
        r#"[ -r /etc/debian_version ] && echo BREACH"#,
    ),
    probe(
        "another project's repository",
        r#"git --git-dir "$OTHER_REPO" log --oneline | grep -q other && echo BREACH"#,
    ),
    probe(
        "writing beside the tree",
        r#"echo x >"$OUTSIDE/written" && echo BREACH"#,
    ),
    probe(
        "a connection by TCP",
        r#"python3 -c "import socket,os; print(socket.create_connection(('127.0.0.1',int(os.environ['TCP'])),2).recv(6).decode())""#,
    ),
    probe(
        "a datagram by UDP",
        r#"python3 -c "
import socket,os
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b'x',('127.0.0.1',int(os.environ['UDP']))); print(s.recv(6).decode())""#,
    ),
    probe(
        "a question to a name server",
        r#"python3 -c "
import socket,os
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01',('127.0.0.1',int(os.environ['UDP']))); print(s.recv(6).decode())""#,
    ),
    probe(
        "a socket with an abstract name",
        r#"python3 -c "
import socket,os
s=socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect('\0'+os.environ['ABSTRACT']); print(s.recv(6).decode())""#,
    ),
    probe(
        "a socket in a directory",
        r#"python3 -c "
import socket,os
s=socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect(os.environ['SOCKET']); print(s.recv(6).decode())""#,
    ),
    probe(
        "a user namespace of its own",
        "unshare --user --map-root-user true && echo BREACH",
    ),
    probe(
        "a mount of its own",
        "unshare --user --map-root-user --mount mount -t tmpfs none /mnt && echo BREACH",
    ),
    probe(
        "tracing another process",
        r#"sleep 30 & python3 -c "
import ctypes,sys
libc=ctypes.CDLL(None,use_errno=True)
print('BREACH' if libc.ptrace(16,int(sys.argv[1]),None,None)==0 else 'no')" $!; kill -9 $!"#,
    ),
    probe(
        "the memory of another process",
        r#"sleep 30 & sleep 0.2; python3 -c "
import ctypes,sys
pid=int(sys.argv[1]); libc=ctypes.CDLL(None,use_errno=True)
at=[int(l.split('-')[0],16) for l in open('/proc/%d/maps'%pid) if 'r--p' in l or 'r-xp' in l][0]
class V(ctypes.Structure): _fields_=[('b',ctypes.c_void_p),('n',ctypes.c_size_t)]
b=ctypes.create_string_buffer(4)
n=libc.process_vm_readv(pid,ctypes.byref(V(ctypes.addressof(b),4)),ctypes.c_ulong(1),ctypes.byref(V(at,4)),ctypes.c_ulong(1),ctypes.c_ulong(0))
print('BREACH' if n==4 else 'no')" $!; kill -9 $!"#,
    ),
    probe(
        "io_uring",
        r#"python3 -c "
import ctypes
libc=ctypes.CDLL(None,use_errno=True)
print('BREACH' if libc.syscall(425,4,ctypes.create_string_buffer(256))>=0 else 'no')""#,
    ),
    probe(
        "a key in the kernel's keyring",
        r#"python3 -c "
import ctypes
libc=ctypes.CDLL(None,use_errno=True)
print('BREACH' if libc.syscall(248,b'user',b'k',b'v',1,-2)>=0 else 'no')""#,
    ),
    Probe {
        name: "a bpf program",
        line: r#"python3 -c "
import ctypes
libc=ctypes.CDLL(None,use_errno=True)
r=libc.syscall(321,0,ctypes.create_string_buffer(b'\x01\0\0\0\x04\0\0\0\x04\0\0\0\x01\0\0\0',128),72)
print('BREACH' if r>=0 else 'no')""#,
        vacuous: Some((
            "this kernel keeps everybody but the administrator from it",
            r#"[ "$(cat /proc/sys/kernel/unprivileged_bpf_disabled)" != 0 ] && [ "$(id -u)" != 0 ] && echo YES"#,
        )),
    },
    probe(
        "a signal to a process outside",
        r#"kill -0 "$VICTIM" && echo BREACH"#,
    ),
    probe(
        "a hook in its own repository",
        r#"d=$(git -c safe.directory='*' rev-parse --path-format=absolute --git-common-dir) && mkdir -p "$d/hooks" && echo 'touch canary' >"$d/hooks/post-checkout" && echo BREACH"#,
    ),
    probe(
        "a setting in its own repository",
        r#"git -c safe.directory='*' config core.fsmonitor 'touch canary' && echo BREACH"#,
    ),
    probe(
        "more processes than it may have",
        r#"python3 -c "
import subprocess
n=0
for _ in range(120):
    try: subprocess.Popen(['sleep','3']); n+=1
    except OSError: break
print('BREACH' if n==120 else 'no')""#,
    ),
    probe(
        "more memory than it may have",
        r#"python3 -c "
try: b=bytearray(700<<20); print('BREACH')
except MemoryError: print('no')""#,
    ),
    probe(
        "a larger file than it may write",
        "head -c 80000000 /dev/zero >big; [ $(stat -c %s big) -ge 80000000 ] && echo BREACH; rm -f big",
    ),
    probe(
        "more in /tmp than it may have",
        r#"for i in 1 2 3 4 5; do head -c 30000000 /dev/zero >"$FILL/f$i" || break; done; [ -s "$FILL/f5" ] && [ $(stat -c %s "$FILL/f5") -eq 30000000 ] && echo BREACH; rm -f "$FILL"/f?"#,
    ),
    Probe {
        name: "typing into the terminal",
        line: r#"python3 -c "
import os,pty,fcntl,termios
pid,fd=pty.fork()
if pid==0:
    try: fcntl.ioctl(0,0x5412,b'x'); os._exit(7)
    except OSError: os._exit(1)
print('BREACH' if os.waitstatus_to_exitcode(os.waitpid(pid,0)[1])==7 else 'no')""#,
        vacuous: Some((
            "this kernel keeps everybody but the administrator from it",
            r#"[ "$(cat /proc/sys/dev/tty/legacy_tiocsti)" = 0 ] && [ "$(id -u)" != 0 ] && echo YES"#,
        )),
    },
];
