//! Memory of large tables, in large pages where the system has them.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one hands everything on to the global one"
)]

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};

/// The size of a large page on the processors that servers have, in bytes.
const LARGE_PAGE: usize = 2 << 20;

/// The global allocator, except that blocks of a large page and more begin at such a page, and that the system is asked to put large
/// pages there.
///
/// What is looked up in a table of many megabytes by a hash lies anywhere in it. In pages of 4 KiB each look-up then waits for the
/// page's place in memory as well, which on a virtual machine takes longer than to read what is there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LargePages;

/// The layout of a block as it is really allocated, and whether that is in large pages.
fn real(layout: Layout) -> Result<(Layout, bool), AllocError> {
    if layout.size() < LARGE_PAGE {
        return Ok((layout, false));
    }
    let layout = layout.align_to(LARGE_PAGE).map_err(|_| AllocError)?;
    Ok((layout.pad_to_align(), true))
}

// SAFETY: every block comes from and goes back to `Global` with the layout that `real` makes of the caller's, which is the same both
// times and as large and as aligned at least. A copy of this allocator is the same allocator, as one of `Global` is.
unsafe impl Allocator for LargePages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let (layout, is_large) = real(layout)?;
        let block = Global.allocate(layout)?;
        if is_large {
            advise(block);
        }
        Ok(block)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if let Ok((layout, _)) = real(layout) {
            // SAFETY: the caller gives back a block of this allocator with its layout, so `Global` has given it out with this one.
            unsafe { Global.deallocate(block, layout) };
        }
    }
}

#[cfg(target_os = "linux")]
fn advise(block: NonNull<[u8]>) {
    // SAFETY: the block is whole pages that nobody else has, and the advice changes nothing that can be read from them.
    let advised = unsafe {
        rustix::mm::madvise(
            block.as_ptr().cast(),
            block.len(),
            rustix::mm::Advice::LinuxHugepage,
        )
    };
    // A system that has no large pages gives small ones.
    let _ = advised;
}

#[cfg(not(target_os = "linux"))]
const fn advise(_: NonNull<[u8]>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_large_as_was_asked_for_and_large_ones_begin_at_a_page() {
        for bytes in [1, 4096, LARGE_PAGE - 1, LARGE_PAGE, 3 * LARGE_PAGE + 1] {
            let layout = Layout::from_size_align(bytes, 16).unwrap();
            let block = LargePages.allocate(layout).unwrap();
            assert!(block.len() >= bytes);
            let place = block.cast::<u8>();
            let align = if bytes < LARGE_PAGE { 16 } else { LARGE_PAGE };
            assert_eq!(place.addr().get() % align, 0);
            // SAFETY: the block is ours and has so many bytes; then it goes back as it came.
            unsafe {
                place.write_bytes(7, bytes);
                LargePages.deallocate(place, layout);
            }
        }
    }
}
