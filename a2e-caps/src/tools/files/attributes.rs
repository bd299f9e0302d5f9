//! What a file has beside its content: owner, group, mode, extended attributes and access lists.

use std::io::{self, ErrorKind};
use std::os::unix::fs::fchown;

use cap_std::fs::{File, Metadata, MetadataExt};
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// Most bytes of the names of a file's attributes, and of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;

/// The attribute by which a program has rights that its caller does not have.
const CAPABILITIES: &[u8] = b"security.capability";

/// Sums of the content, which the kernel makes again.
const SUMS: [&[u8]; 2] = [b"security.evm", b"security.ima"];

/// Whether the file is a program with rights of its own.
pub(super) fn has_capabilities(file: &File) -> bool {
    names(file).is_ok_and(|names| names.iter().any(|name| name == CAPABILITIES))
}

/// Gives `new` what `old` has. On failure: what cannot be kept, for people.
pub(super) fn keep(old: &File, has: &Metadata, new: &File) -> Result<(), String> {
    let is_now = new.metadata().map_err(|error| error.to_string())?;
    let uid = Some(has.uid()).filter(|uid| *uid != is_now.uid());
    let gid = Some(has.gid()).filter(|gid| *gid != is_now.gid());
    if uid.is_some() || gid.is_some() {
        fchown(new, uid, gid).map_err(|error| {
            format!("its owner (user {}, group {}) cannot be kept: {error}", has.uid(), has.gid())
        })?;
    }
    keep_attributes(old, new)?;
    let mode = has.mode() & 0o7777;
    let kept = new.set_permissions(has.permissions()).and_then(|()| new.metadata());
    match kept {
        Ok(it) if it.mode() & 0o7777 == mode => Ok(()),
        Ok(_) => Err(format!("its mode {mode:04o} cannot be kept")),
        Err(error) => Err(format!("its mode {mode:04o} cannot be kept: {error}")),
    }
}

/// An access list is an attribute, too (`system.posix_acl_access`). A new file may have got some
/// from its folder.
fn keep_attributes(old: &File, new: &File) -> Result<(), String> {
    let unkept = |name: &[u8], error: io::Error| {
        let name = String::from_utf8_lossy(name).into_owned();
        format!("its extended attribute `{name}` cannot be kept: {error}")
    };
    let has = names(old).map_err(|error| unkept(b"*", error))?;
    for name in names(new).map_err(|error| unkept(b"*", error))? {
        if !has.contains(&name) && !name.starts_with(b"security.") {
            fremovexattr(new, name.as_slice()).map_err(|error| unkept(&name, error.into()))?;
        }
    }
    for name in has.iter().filter(|name| !SUMS.contains(&name.as_slice())) {
        let value = value(old, name).map_err(|error| unkept(name, error))?;
        if self::value(new, name).is_ok_and(|it| it == value) {
            continue;
        }
        fsetxattr(new, name.as_slice(), &value, XattrFlags::empty())
            .map_err(|error| unkept(name, error.into()))?;
    }
    Ok(())
}

/// The names of a file's attributes; none where the file system has no such thing.
fn names(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; MOST];
    let length = match flistxattr(file, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

fn value(file: &File, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0; MOST];
    let length = fgetxattr(file, name, value.as_mut_slice())?;
    if length > value.len() {
        return Err(ErrorKind::InvalidData.into());
    }
    value.truncate(length);
    Ok(value)
}
