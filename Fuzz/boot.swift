import Simnet

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    let found = FuzzBoot.run(input)
    guard found.isEmpty else { fatalError(found.joined(separator: "; ")) }
    return 0
}
