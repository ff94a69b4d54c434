//! A Vulkan layer that tells the application: this device has no robust buffer access.
//!
//! wgpu asks for `robustBufferAccess` wherever a device offers it. An out-of-bounds access
//! is then defined behaviour, so the Khronos validation layer does not report it; but our
//! kernels must not make any. `scripts/gpu-av.sh` puts this layer between the application
//! and the validation layer. It takes no part in anything but the feature queries, and it
//! is never part of what ships.

use ash::vk;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// `VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO` of `vk_layer.h`.
const LOADER_INSTANCE_CREATE_INFO: i32 = 47;
/// `VK_LAYER_LINK_INFO` of `vk_layer.h`.
const LAYER_LINK_INFO: u32 = 0;
/// The version of the interface between loader and layer that this file implements.
const INTERFACE_VERSION: u32 = 2;

/// `VkLayerInstanceLink`: the next layer, or the driver.
#[repr(C)]
struct InstanceLink {
    next: *mut InstanceLink,
    next_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    next_physical_device_proc_addr: *const c_void,
}

/// `VkLayerInstanceCreateInfo`, as far as it is used here.
#[repr(C)]
struct LoaderInfo {
    s_type: vk::StructureType,
    p_next: *mut LoaderInfo,
    function: u32,
    link: *mut InstanceLink,
}

/// `VkNegotiateLayerInterface`.
#[repr(C)]
pub struct NegotiateInterface {
    s_type: u32,
    p_next: *mut c_void,
    version: u32,
    instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    device_proc_addr: *const c_void,
    physical_device_proc_addr: *const c_void,
}

// The next layer's functions, as addresses. One set serves every instance, because the
// chain of layers is the same for all instances of a process.
static NEXT_PROC_ADDR: AtomicUsize = AtomicUsize::new(0);
static NEXT_FEATURES: AtomicUsize = AtomicUsize::new(0);
static NEXT_FEATURES2: AtomicUsize = AtomicUsize::new(0);

/// The address of a layer's function; the form that the loader takes it in.
macro_rules! address {
    ($function:expr, $type:ty) => {
        Some(unsafe {
            // SAFETY: a function pointer is handed out untyped, as Vulkan does; the caller
            // casts it back to the type that belongs to the name it asked for.
            std::mem::transmute::<$type, unsafe extern "system" fn()>($function)
        })
    };
}

/// The entry point that the Vulkan loader calls first.
///
/// # Safety
///
/// `interface` is null or points to a `VkNegotiateLayerInterface`, as the loader passes it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(
    interface: *mut NegotiateInterface,
) -> vk::Result {
    // SAFETY: the loader passes null or a valid structure (the function's contract).
    let Some(interface) = (unsafe { interface.as_mut() }) else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    interface.version = interface.version.min(INTERFACE_VERSION);
    interface.instance_proc_addr = Some(get_instance_proc_addr);
    // No device function is intercepted: the loader leaves this layer out of the device chain.
    interface.device_proc_addr = std::ptr::null();
    interface.physical_device_proc_addr = std::ptr::null();
    vk::Result::SUCCESS
}

unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: `name` is a C string, as Vulkan demands of the caller.
    match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"vkGetInstanceProcAddr" => {
            address!(get_instance_proc_addr, vk::PFN_vkGetInstanceProcAddr)
        }
        b"vkCreateInstance" => address!(create_instance, vk::PFN_vkCreateInstance),
        b"vkGetPhysicalDeviceFeatures" => {
            address!(features, vk::PFN_vkGetPhysicalDeviceFeatures)
        }
        b"vkGetPhysicalDeviceFeatures2" | b"vkGetPhysicalDeviceFeatures2KHR" => {
            address!(features2, vk::PFN_vkGetPhysicalDeviceFeatures2)
        }
        // SAFETY: the arguments are the caller's, passed on.
        _ => next_proc_addr().and_then(|next| unsafe { next(instance, name) }),
    }
}

fn next_proc_addr() -> Option<vk::PFN_vkGetInstanceProcAddr> {
    let address = NEXT_PROC_ADDR.load(Ordering::Acquire);
    // SAFETY: the address is 0 (None) or was stored by `create_instance` from a function
    // pointer of this type.
    unsafe { std::mem::transmute::<usize, Option<vk::PFN_vkGetInstanceProcAddr>>(address) }
}

unsafe extern "system" fn create_instance(
    info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: `info` is valid and its chain holds the loader's link to the next layer;
    // advancing that link before calling on is what the loader's interface asks of a layer.
    unsafe {
        let mut entry = (*info).p_next.cast_mut().cast::<LoaderInfo>();
        while let Some(loader) = entry.as_mut() {
            if loader.s_type.as_raw() == LOADER_INSTANCE_CREATE_INFO
                && loader.function == LAYER_LINK_INFO
            {
                let Some(link) = loader.link.as_ref() else {
                    break;
                };
                let next = link.next_proc_addr;
                loader.link = link.next;
                return create_next_instance(next, info, allocator, instance);
            }
            entry = loader.p_next;
        }
    }
    vk::Result::ERROR_INITIALIZATION_FAILED
}

/// # Safety
///
/// As `vkCreateInstance`; `next` is the next layer's `vkGetInstanceProcAddr`.
unsafe fn create_next_instance(
    next: vk::PFN_vkGetInstanceProcAddr,
    info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: the names are Vulkan's, and each result is cast to the type of its name.
    unsafe {
        let Some(create) = next(vk::Instance::null(), c"vkCreateInstance".as_ptr()) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let create =
            std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkCreateInstance>(create);
        let result = create(info, allocator, instance);
        if result == vk::Result::SUCCESS {
            NEXT_PROC_ADDR.store(next as usize, Ordering::Release);
            let find = |name: &CStr| next(*instance, name.as_ptr()).map_or(0, |f| f as usize);
            let plain = find(c"vkGetPhysicalDeviceFeatures");
            let mut extended = find(c"vkGetPhysicalDeviceFeatures2");
            if extended == 0 {
                extended = find(c"vkGetPhysicalDeviceFeatures2KHR");
            }
            NEXT_FEATURES.store(plain, Ordering::Release);
            NEXT_FEATURES2.store(extended, Ordering::Release);
        }
        result
    }
}

unsafe extern "system" fn features(
    device: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceFeatures,
) {
    let address = NEXT_FEATURES.load(Ordering::Acquire);
    // SAFETY: the address is 0 (None) or that of the function of this type; `out` is the
    // caller's, and valid.
    unsafe {
        let next =
            std::mem::transmute::<usize, Option<vk::PFN_vkGetPhysicalDeviceFeatures>>(address);
        if let Some(next) = next {
            next(device, out);
            (*out).robust_buffer_access = vk::FALSE;
        }
    }
}

unsafe extern "system" fn features2(
    device: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    let address = NEXT_FEATURES2.load(Ordering::Acquire);
    // SAFETY: as in `features`; every structure of the chain starts with its type and the
    // pointer to the next, and a structure is written to only where its type is known.
    unsafe {
        let next =
            std::mem::transmute::<usize, Option<vk::PFN_vkGetPhysicalDeviceFeatures2>>(address);
        let Some(next) = next else {
            return;
        };
        next(device, out);
        (*out).features.robust_buffer_access = vk::FALSE;
        let mut entry = (*out).p_next.cast::<vk::BaseOutStructure<'_>>();
        while let Some(base) = entry.as_ref() {
            if base.s_type == vk::StructureType::PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT {
                let robustness = entry.cast::<vk::PhysicalDeviceRobustness2FeaturesEXT<'_>>();
                (*robustness).robust_buffer_access2 = vk::FALSE;
            }
            entry = base.p_next;
        }
    }
}
