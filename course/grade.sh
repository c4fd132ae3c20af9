#!/bin/sh
# Grade the submissions of a problem set where they can do no harm, then keep the points:
#     sh course/grade.sh ps1 [options of nbgrader autograde]
# The students' code runs in bubblewrap (Linux; `apt install bubblewrap`). It has no network, sees no other process, none of your
# environment variables and nothing of your home directory but this repository, and writes to copies. See "Grading" in
# course/README.md.
set -eu

set=${1:?which problem set? For example: sh course/grade.sh ps1}
shift
repository=$(cd "$(dirname "$0")/.." && pwd)
course=$repository/course
stop() {
    echo "$1" >&2
    exit 1
}
command -v bwrap >/dev/null || stop "bubblewrap is missing: apt install bubblewrap"
[ -e "$course/gradebook.db" ] || stop "there is no gradebook yet: run 'make course'"
[ -d "$course/downloaded/$set/archive" ] || stop "put the submitted files into course/downloaded/$set/archive"

interpreter=$("$repository/.venv/bin/python" -c 'import sys; print(sys.base_prefix)') # it may lie in the home directory
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM HUP
cp "$course/gradebook.db" "$course/gradebook.db.bak"
cp -r "$course/." "$copy"
hidden="" # sockets of other programs, other disks, other homes
for folder in /home /media /mnt /run; do
    [ ! -d "$folder" ] || hidden="$hidden --tmpfs $folder"
done
status=0
# shellcheck disable=SC2086 # several arguments
bwrap --unshare-all --die-with-parent --new-session --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp $hidden --tmpfs "$HOME" \
    --ro-bind "$interpreter" "$interpreter" --ro-bind "$repository" "$repository" \
    --bind "$copy" "$copy" --chdir "$copy" env -i HOME="$copy" LANG=C.UTF-8 PATH="$repository/.venv/bin:$PATH" \
    sh -c 'nbgrader zip_collect "$0" --force && nbgrader autograde "$0" --create "$@"' "$set" "$@" || status=$?

find "$copy" -type l -delete # a link could lead to your own files
for result in submitted autograded gradebook.db; do # replaced whole: a copy that is cut off leaves the old one
    [ -e "$copy/$result" ] || continue
    rm -rf "$course/$result.new"
    cp -r "$copy/$result" "$course/$result.new"
    rm -rf "${course:?}/$result"
    mv "$course/$result.new" "$course/$result"
done
[ "$status" = 0 ] || stop "not all was graded: read the errors above. Everything else is in course/gradebook.db"
