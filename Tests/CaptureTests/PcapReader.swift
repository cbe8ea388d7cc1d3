import CPcap
import Testing

/// Reads a capture back with libpcap.
enum PcapReader {
    struct Record {
        var seconds: Int
        var nanoseconds: Int
        /// On the wire; `bytes` may be cut.
        var length: Int
        var bytes: [UInt8]
    }

    static func read(_ path: String) throws -> [Record] {
        var message = [CChar](repeating: 0, count: Int(PCAP_ERRBUF_SIZE))
        let handle = unsafe pcap_open_offline_with_tstamp_precision(path, UInt32(PCAP_TSTAMP_PRECISION_NANO), &message)
        let reader = unsafe try #require(handle)
        defer { unsafe pcap_close(reader) }
        #expect(unsafe pcap_datalink(reader) == DLT_EN10MB)
        var records: [Record] = []
        var header: UnsafeMutablePointer<pcap_pkthdr>?
        var data: UnsafePointer<UInt8>?
        while unsafe pcap_next_ex(reader, &header, &data) == 1 {
            guard let header = unsafe header, let data = unsafe data else { break }
            let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: Int(header.pointee.caplen)))
            unsafe records.append(
                Record(
                    seconds: header.pointee.ts.tv_sec, nanoseconds: header.pointee.ts.tv_usec,
                    length: Int(header.pointee.len), bytes: bytes))
        }
        return records
    }
}
