import Glibc
import Uv

// The whole process is the fuzzer's: what is open afterwards that was not before has been forgotten. libuv opens two for the
// process with its first loop.
let opened: Void = { _ = try? EventLoop() }()

func openDescriptors() -> Int {
    guard let folder = unsafe opendir("/proc/self/fd") else { return 0 }
    defer { unsafe closedir(folder) }
    var count = 0
    while unsafe readdir(folder) != nil { count += 1 }
    return count
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    _ = opened
    let before = openDescriptors()
    var found = FuzzVhost.run(input)
    let after = openDescriptors()
    if after != before { found.append("\(after - before) descriptors are left open") }
    guard found.isEmpty else { fatalError(found.joined(separator: "; ")) }
    return 0
}
