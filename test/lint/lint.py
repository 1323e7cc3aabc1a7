"""What the checks beside this file share: which files belong to the project, and how a finding is told."""
import pathlib
import subprocess
import sys


def project_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Tracked files, and new ones that git does not ignore, relative to root. Outside a git tree: all but build/."""
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--cached", "--others",
               "--exclude-standard", "--deduplicate"]
    listing = subprocess.run(command, capture_output=True, check=False)
    if listing.returncode == 0:
        names = [pathlib.Path(name) for name in listing.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(root) for path in root.rglob("*")]
        names = [name for name in names if name.parts[0] not in (".git", "build")]
    return sorted(name for name in names if (root / name).is_file() and not (root / name).is_symlink())


def report(findings: list[str], held: str) -> int:
    """The exit status. `held` says what was looked at, when nothing was found."""
    for finding in findings:
        print(finding, file=sys.stderr)
    if findings:
        print(f"{len(findings)} finding(s)", file=sys.stderr)
        return 1
    print(held)
    return 0
