"""Whether a folder lies on a network file system, where SQLite's write-ahead log must not be used."""

from pathlib import Path

NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2"),
        *("gfs2", "glusterfs", "orangefs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs"),
        *(
            "fuse.gcsfuse",
            "fuse.rclone",
            "fuse.mount-s3",
            "fuse.juicefs",
            "fuse.davfs2",
            "fuse.goofys",
            "fuse.blobfuse2",
        ),
    }
)

_MOUNTS = Path("/proc/self/mounts")


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, from the text of a mounts table; empty where it names none."""
    wanted = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = Path(fields[1].replace("\\040", " ").replace("\\011", "\t"))
        if (mount == wanted or mount in wanted.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind


def is_network_path(path: Path) -> bool:
    """True where the kernel's mounts table says so; False where there is none to read."""
    try:
        return file_system_of(path, _MOUNTS.read_text()) in NETWORK_TYPES
    except OSError:
        return False
