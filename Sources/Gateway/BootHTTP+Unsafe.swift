internal import Boot
internal import CMicrohttpd
internal import Glibc

// The files of `--tftp` by HTTP: GET and HEAD, one range of bytes, no listing. For iPXE and for UEFI's HTTP boot.
//
// By libmicrohttpd (Debian's libmicrohttpd12): small, old, takes a connected socket that somebody else accepted, sends files by
// sendfile, and parses what strangers send better than we would. It has a thread of its own, so that a slow disk holds up no frame.
// What it serves is our end of a socket pair; the machine's TCP ends in the core, as for DNS.
//
// Limits: `connections`, each closed after `idleSeconds` of silence; 16 KiB for what a request's head may have.

@safe
final class BootHTTP {
    private static let connections: UInt32 = 64
    private static let idleSeconds: UInt32 = 30

    private let daemon: OpaquePointer

    /// - Parameter directory: open as long as this lives.
    init(directory: Int32) throws {
        if let missing = unsafe boot_http_load() {
            throw BootUnavailable(
                description: unsafe "--tftp needs libmicrohttpd (Debian's libmicrohttpd12): \(String(cString: missing))"
            )
        }
        let context = unsafe UnsafeMutableRawPointer(bitPattern: Int(directory) + 1)
        guard let daemon = unsafe boot_http_start(answer, context, Self.connections, Self.idleSeconds) else {
            throw BootUnavailable(description: "--tftp: libmicrohttpd cannot be started")
        }
        unsafe self.daemon = daemon
    }

    /// Serves a connection. The descriptor is no longer the caller's.
    func serve(_ fd: Int32) { _ = unsafe boot_http_add(daemon, fd) }

    func close() { unsafe boot_http_stop(daemon) }
}

private func text(_ status: UInt32, _ sentence: String, _ connection: OpaquePointer?) -> MHD_Result {
    var bytes = Array((sentence + "\n").utf8)
    let response = unsafe boot_http_response(&bytes, bytes.count)
    unsafe boot_http_add_header(response, "Content-Type", "text/plain")
    if status == 405 { unsafe boot_http_add_header(response, "Allow", "GET, HEAD") }
    return unsafe boot_http_answer(connection, status, response)
}

/// On the daemon's thread. The context is the directory's descriptor and one.
private let answer: MHD_AccessHandlerCallback = { context, connection, url, method, _, _, _, _ in
    guard let context = unsafe context, let url = unsafe url, let method = unsafe method else {
        return boot_http_refused
    }
    let verb = unsafe String(cString: method)
    guard verb == "GET" || verb == "HEAD" else {
        return unsafe text(405, "Only GET and HEAD.", connection)
    }
    let directory = Int32(Int(bitPattern: context) - 1)
    let path = unsafe String(cString: url)
    guard let (file, size) = BootDirectory.open(path, beneath: directory) else {
        return unsafe text(404, "No such file.", connection)
    }
    let header = unsafe boot_http_header(connection, "Range")
    let range = unsafe ByteRange(header.map { unsafe String(cString: $0) }, size: size)
    var part = 0..<size
    var status: UInt32 = 200
    switch range {
    case .whole: break
    case .part(let wanted):
        part = wanted
        status = 206
    case .unsatisfiable:
        Glibc.close(file)
        return unsafe text(416, "The file has \(size) bytes.", connection)
    }
    // Closes the file in the end.
    guard
        let response = unsafe boot_http_file(file, UInt64(part.lowerBound), UInt64(part.count))
    else {
        Glibc.close(file)
        return boot_http_refused
    }
    unsafe boot_http_add_header(response, "Content-Type", "application/octet-stream")
    unsafe boot_http_add_header(response, "Accept-Ranges", "bytes")
    if status == 206 {
        let place = "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"
        unsafe boot_http_add_header(response, "Content-Range", place)
    }
    return unsafe boot_http_answer(connection, status, response)
}
