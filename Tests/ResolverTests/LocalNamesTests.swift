import Testing

@Suite struct LocalNamesTests {
    struct Row: CustomTestStringConvertible {
        var name: String
        var question: String
        var type: Int
        var `class` = 1
        /// Nil: goes upstream.
        var rcode: Int? = 0
        var data: [[UInt8]] = []
        var testDescription: String { name }
    }
    static func v6(_ last: UInt8) -> [[UInt8]] { [[0xfd] + [UInt8](repeating: 0, count: 14) + [last]] }

    @Test(arguments: [
        Row(name: "the gateway's A", question: "gateway.internal", type: 1, data: [[10, 0, 2, 1]]),
        Row(name: "AAAA, in any case", question: "GateWay.Internal", type: 28, data: v6(1)),
        Row(name: "the host", question: "host.internal", type: 1, data: [[10, 0, 2, 254]]),
        Row(name: "docker's alias", question: "host.docker.internal", type: 28, data: v6(0xfe)),
        Row(name: "podman's alias", question: "host.containers.internal", type: 1, data: [[10, 0, 2, 254]]),
        Row(name: "another type is empty, not upstream's", question: "host.internal", type: 16),
        Row(name: "another class too", question: "host.internal", type: 1, class: 3),
        Row(name: "below a built-in name", question: "a.host.internal", type: 1, rcode: 3),
        Row(name: "another name under internal", question: "vpn.internal", type: 1, rcode: nil),
        Row(
            name: "PTR of the gateway", question: "1.2.0.10.in-addr.arpa", type: 12,
            data: [Messages.name("gateway.internal")]),
        Row(
            name: "PTR of the host", question: "254.2.0.10.in-addr.arpa", type: 12,
            data: [Messages.name("host.internal")]),
        Row(name: "PTR of another", question: "9.2.0.10.in-addr.arpa", type: 12, rcode: nil),
        Row(name: "localhost", question: "localhost", type: 1, data: [[127, 0, 0, 1]]),
        Row(name: "below localhost", question: "x.localhost", type: 1, data: [[127, 0, 0, 1]]),
        Row(name: "a hosts entry", question: "db.test", type: 1, data: [[192, 0, 2, 5]]),
        Row(name: "its other family is empty", question: "db.test", type: 28),
        Row(name: "its other types go upstream", question: "db.test", type: 15, rcode: nil),
        Row(name: "its PTR", question: "5.2.0.192.in-addr.arpa", type: 12, data: [Messages.name("db.test")]),
        Row(name: "the host's own name on its loopback", question: "myhost", type: 1, data: [[10, 0, 2, 254]]),
        Row(name: "an unknown name", question: "example.org", type: 1, rcode: nil),
    ])
    func answers(row: Row) throws {
        let bench = Bench(hosts: "127.0.1.1 myhost\n192.0.2.5 db.test db\n")
        let query = Messages.query(row.question, type: row.type, class: row.class)
        bench.query(query)
        guard let rcode = row.rcode else {
            #expect(bench.answers.isEmpty && bench.sent.count == 1)
            return
        }
        #expect(bench.sent.isEmpty)
        let answer = try #require(bench.answers.first?.bytes)
        #expect(Messages.rcode(answer) == rcode)
        #expect(Messages.id(answer) == 0x1234)
        #expect(answer[2] & 0x85 == 0x85)  // QR, AA, RD.
        let records = row.data.map { Messages.record(row.type, ttl: 5, $0) }
        #expect(Array(answer[12...]) == query[12...] + records.flatMap { $0 })
        #expect(Messages.answerCount(answer) == records.count)
    }

    @Test func answersWithEDNS() throws {
        let bench = Bench()
        bench.query(Messages.query("host.internal", opt: Messages.opt(ttl: [0, 0, 0x80, 0])))
        let answer = try #require(bench.answers.first?.bytes)
        #expect(answer.suffix(11) == Messages.opt(ttl: [0, 0, 0x80, 0])[...])
        #expect(answer[11] == 1)
    }

    @Test func manyAddressesAreTruncatedForUDPOnly() throws {
        let hosts = (1...16).map { "2001:db8::\($0) many.test\n" }.joined() + "192.0.2.1 many.test\n"
        let bench = Bench(hosts: hosts)
        // 16 AAAA records of 28 bytes are 477 bytes: within 512. A long name makes no difference to them: they fit.
        bench.query(Messages.query("many.test", type: 28))
        #expect(bench.answers.count == 1 && !Messages.isTruncated(bench.answers[0].bytes))
        #expect(Messages.answerCount(bench.answers[0].bytes) == 16)
    }
}
