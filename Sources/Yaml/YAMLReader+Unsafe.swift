internal import CYaml

// YAML by libyaml, the one module that sees it. Its events become nodes; libyaml knows YAML 1.1 whole, and what settings have no use
// for is refused here, with its line: aliases (also the way to make a small file a huge tree), merged documents, keys that are not
// text, and keys that come twice.
//
// Limits: 1 MiB of text, 16 levels, 10,000 nodes.

package enum YAMLReader {
    private static let largestText = 1 << 20
    private static let largestDepth = 16
    private static let mostNodes = 10_000

    /// The one document in `text`; nil when there is none.
    package static func read(_ text: String) throws(YAMLError) -> YAMLNode? {
        // With a byte more, so that an empty text has an address, too.
        let bytes = Array(text.utf8) + [0]
        guard bytes.count - 1 <= largestText else { throw YAMLError(line: 1, problem: "longer than 1 MiB") }
        var parser = unsafe yaml_parser_t()
        guard unsafe yaml_parser_initialize(&parser) == 1 else { throw YAMLError(line: 1, problem: "no memory") }
        defer { unsafe yaml_parser_delete(&parser) }
        // The parser keeps the pointer, so that all happens while the bytes are held.
        let result: Result<YAMLNode?, YAMLError> = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe yaml_parser_set_input_string(&parser, buffer.baseAddress!, buffer.count - 1)
            var events = unsafe Events(parser: &parser)
            do throws(YAMLError) {
                return .success(try document(&events))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func document(_ events: inout Events) throws(YAMLError) -> YAMLNode? {
        _ = try events.next()  // the stream's start
        guard case .documentStart = try events.next().kind else { return nil }
        let node = try node(try events.next(), &events, depth: 0)
        _ = try events.next()  // the document's end
        let rest = try events.next()
        guard case .streamEnd = rest.kind else { throw YAMLError(line: rest.line, problem: "a second document") }
        return node
    }

    private static func node(_ event: Event, _ events: inout Events, depth: Int) throws(YAMLError) -> YAMLNode {
        guard depth < largestDepth else { throw YAMLError(line: event.line, problem: "nested too deeply") }
        switch event.kind {
        case .scalar(let text, let isQuoted):
            return YAMLNode(content: .scalar(text, isQuoted: isQuoted), line: event.line)
        case .sequenceStart:
            var items: [YAMLNode] = []
            while true {
                let next = try events.next()
                if case .end = next.kind { return YAMLNode(content: .sequence(items), line: event.line) }
                items.append(try node(next, &events, depth: depth + 1))
            }
        case .mappingStart:
            var pairs: [YAMLNode.Pair] = []
            while true {
                let next = try events.next()
                if case .end = next.kind { return YAMLNode(content: .mapping(pairs), line: event.line) }
                guard case .scalar(let key, _) = next.kind else {
                    throw YAMLError(line: next.line, problem: "a key has to be text")
                }
                if let first = pairs.first(where: { $0.key == key }) {
                    throw YAMLError(line: next.line, problem: "'\(key)' is there twice, first on line \(first.line)")
                }
                let value = try node(try events.next(), &events, depth: depth + 1)
                pairs.append(YAMLNode.Pair(key: key, line: next.line, value: value))
            }
        case .alias: throw YAMLError(line: event.line, problem: "aliases (*name) are not understood here")
        case .documentStart, .streamEnd, .end, .other:
            throw YAMLError(line: event.line, problem: "not a value")
        }
    }

    fileprivate struct Event {
        enum Kind {
            case documentStart, streamEnd, sequenceStart, mappingStart, end, alias, other
            case scalar(String, isQuoted: Bool)
        }
        let kind: Kind
        let line: Int
    }

    @safe
    fileprivate struct Events {
        let parser: UnsafeMutablePointer<yaml_parser_t>
        var count = 0

        init(parser: UnsafeMutablePointer<yaml_parser_t>) { unsafe self.parser = unsafe parser }

        mutating func next() throws(YAMLError) -> Event {
            var event = unsafe yaml_event_t()
            guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw failure() }
            defer { unsafe yaml_event_delete(&event) }
            count += 1
            let line = unsafe Int(event.start_mark.line) + 1
            guard count <= 2 * YAMLReader.mostNodes else {
                throw YAMLError(line: line, problem: "too many values")
            }
            let kind: Event.Kind
            switch unsafe event.type {
            case YAML_DOCUMENT_START_EVENT: kind = .documentStart
            case YAML_STREAM_END_EVENT: kind = .streamEnd
            case YAML_SEQUENCE_START_EVENT: kind = .sequenceStart
            case YAML_MAPPING_START_EVENT: kind = .mappingStart
            case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: kind = .end
            case YAML_ALIAS_EVENT: kind = .alias
            case YAML_SCALAR_EVENT:
                let scalar = unsafe event.data.scalar
                let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
                kind = unsafe .scalar(
                    String(decoding: bytes, as: UTF8.self), isQuoted: scalar.style != YAML_PLAIN_SCALAR_STYLE)
            default: kind = .other
            }
            return Event(kind: kind, line: line)
        }

        private func failure() -> YAMLError {
            let problem = unsafe parser.pointee.problem.map { unsafe String(cString: $0) } ?? "not YAML"
            return unsafe YAMLError(line: Int(parser.pointee.problem_mark.line) + 1, problem: problem)
        }
    }
}
