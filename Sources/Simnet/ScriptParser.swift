import Wire

// From text to a Script. One pass, a line at a time, words split at blanks; the grammar is in docs/tcp-scripts.md. Tests/e2e/scripts.py
// reads the same files, so what changes here changes there.

/// What a line has that the grammar does not.
package struct ScriptError: Error, CustomStringConvertible {
    package var file: String
    package var line: Int
    package var message: String
    package var description: String { "\(file):\(line): \(message)" }
}

package struct ScriptParser {
    private var script: Script
    private let side: Script.Side
    private var line = 0
    private var saysWhy = false

    /// The events that concern `side`. Throws for lines of the other side too.
    package static func parse(_ text: String, name: String, for side: Script.Side) throws(ScriptError) -> Script {
        var parser = ScriptParser(script: Script(name: name), side: side)
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            parser.line += 1
            try parser.read(line)
        }
        guard !parser.script.events.isEmpty || parser.script.only != nil else { throw parser.error("no events") }
        return parser.script
    }

    private init(script: Script, side: Script.Side) {
        self.script = script
        self.side = side
    }

    private func error(_ message: String) -> ScriptError {
        ScriptError(file: script.name, line: line, message: message)
    }

    private func integer(_ word: Substring) throws(ScriptError) -> Int {
        guard let value = Int(word) else { throw error("'\(word)' is not a number") }
        return value
    }

    // MARK: Lines

    private mutating func read(_ whole: Substring) throws(ScriptError) {
        let text = whole.prefix { $0 != "#" }
        var words = text.split { $0 == " " || $0 == "\t" }[...]
        guard let first = words.first else { return }
        if first == "differs:" {
            guard words.count > 1 else { throw error("a difference needs its reason") }
            saysWhy = true
            return
        }
        if try header(words) { return }
        var isOurs = true
        if first.last == ":", let marked = Script.Side(rawValue: String(first.dropLast())) {
            guard saysWhy else { throw error("a line for \(marked.rawValue) only needs a 'differs: REASON' before it") }
            isOurs = marked == side
            words.removeFirst()
        }
        let after = try time(words.popFirst() ?? "")
        let action = try self.action(&words)
        guard words.isEmpty else { throw error("'\(words.joined(separator: " "))' is too much") }
        guard isOurs else { return }
        script.events += action.enumerated().map { i, action in
            ScriptEvent(line: line, after: i == 0 ? after : 0...0, action: action)
        }
    }

    private mutating func header(_ words: ArraySlice<Substring>) throws(ScriptError) -> Bool {
        let rest = words.dropFirst()
        switch words.first! {
        case "ip", "mtu", "isn", "buffer":
            guard rest.count == 1, script.events.isEmpty else { throw error("a header of two words comes first") }
            let value = try integer(rest.first!)
            switch words.first! {
            case "ip":
                guard value == 4 || value == 6 else { throw error("IP version \(value)") }
                script.isV4 = value == 4
            case "mtu": script.mtu = value
            case "buffer": script.buffer = value
            default: script.isn = UInt32(truncatingIfNeeded: value)
            }
            return true
        case "only":
            guard let word = rest.first, word.last == ":", let side = Script.Side(rawValue: String(word.dropLast())),
                rest.count > 1
            else { throw error("'only SIDE: REASON'") }
            script.only = (side, rest.dropFirst().joined(separator: " "))
            return true
        default: return false
        }
    }

    /// `+SECONDS` or `+SECONDS..SECONDS`.
    private func time(_ word: Substring) throws(ScriptError) -> ClosedRange<Int64> {
        guard word.first == "+" else { throw error("a line begins with its time, as '+0.01'") }
        let range = word.dropFirst()
        guard let dots = range.firstRange(of: "..") else {
            let at = try seconds(range)
            return at...at
        }
        let (low, high) = (try seconds(range[..<dots.lowerBound]), try seconds(range[dots.upperBound...]))
        guard low <= high else { throw error("'\(range)' ends before it begins") }
        return low...high
    }

    private func seconds(_ word: Substring) throws(ScriptError) -> Int64 {
        guard let value = Double(word), value >= 0, value < 1e6 else { throw error("'\(word)' is not a time") }
        return Int64(value * 1e9 + 0.5)
    }

    private func action(_ words: inout ArraySlice<Substring>) throws(ScriptError) -> [ScriptAction] {
        let verb = words.popFirst() ?? ""
        switch verb {
        case "guest>":
            if words.first == "fills" {
                words.removeFirst()
                return [.fill]
            }
            if words.first == "icmp" { return [try tooBig(&words)] }
            return try segments(&words).map { .inject($0) }
        case "guest<":
            if words.first == "icmp" {
                words.removeFirst()
                guard let kind = ScriptUnreachable(rawValue: String(words.popFirst() ?? "")) else {
                    throw error("'guest< icmp net|host|port|prohibited'")
                }
                return [.expectICMP(kind)]
            }
            return try segments(&words).map { .expect($0) }
        case "guest":
            guard words.popFirst() == "window", let word = words.popFirst() else { throw error("'guest window N'") }
            return [.window(try bound(word))]
        case "host": return [.host(try host(&words))]
        case "wait": return [.wait]
        default: throw error("'\(verb)' is none of guest>, guest<, guest, host, wait")
        }
    }

    private func tooBig(_ words: inout ArraySlice<Substring>) throws(ScriptError) -> ScriptAction {
        let form = Array(words)
        guard form.count == 6, form[1] == "too-big", form[2] == "mtu", form[4] == "seq" else {
            throw error("'guest> icmp too-big mtu N seq N'")
        }
        words = []
        return .injectTooBig(mtu: try integer(form[3]), sequence: try number(form[5]))
    }

    private func host(_ words: inout ArraySlice<Substring>) throws(ScriptError) -> ScriptHostAction {
        let verb = words.popFirst() ?? ""
        switch verb {
        case "connect":
            guard let how = ScriptConnect(rawValue: String(words.popFirst() ?? "")) else {
                throw error("'host connect succeeds|refused|unreachable|prohibited|times'")
            }
            return .connect(how)
        case "connects": return .connects
        case "writes":
            let count = try integer(words.popFirst() ?? "")
            guard words.first == "urgent" else { return .writes(count, urgent: false) }
            words.removeFirst()
            guard count > 0 else { throw error("no byte is urgent") }
            return .writes(count, urgent: true)
        case "reads":
            let word = words.popFirst() ?? ""
            return .reads(word == "all" ? nil : try integer(word))
        case "stops-reading": return .stopsReading
        case "shuts-down": return .shutsDown
        case "closes": return .closes
        case "resets": return .resets
        case "has":
            let word = words.popFirst() ?? ""
            if word == "end" { return .hasEnd }
            if word == "reset" { return .hasReset }
            if word == "urgent" {
                var which: [Int] = []
                while let word = words.popFirst() { which.append(try integer(word)) }
                return .hasUrgent(which)
            }
            return .has(try integer(word))
        default: throw error("a host does not '\(verb)'")
        }
    }

    // MARK: Segments

    private func number(_ word: Substring) throws(ScriptError) -> ScriptNumber {
        guard word.first == "@" else { return ScriptNumber(isNext: false, offset: try integer(word)) }
        let rest = word.dropFirst()
        return ScriptNumber(isNext: true, offset: rest.isEmpty ? 0 : try integer(rest))
    }

    private func bound(_ word: Substring) throws(ScriptError) -> ScriptBound {
        word == ">0" ? .positive : .exactly(try integer(word))
    }

    /// `[COUNTx] FLAGS SEQ:END(LENGTH) [ack N] [win N] [urg N] [<OPTIONS>]`; a count makes a train of equal segments.
    private func segments(_ words: inout ArraySlice<Substring>) throws(ScriptError) -> [ScriptSegment] {
        var count = 1
        if let word = words.first, word.last == "x", let times = Int(word.dropLast()) {
            count = times
            words.removeFirst()
        }
        var first = ScriptSegment(flags: try flags(words.popFirst() ?? ""), sequence: ScriptNumber(), length: 0)
        (first.sequence, first.length) = try range(words.popFirst() ?? "")
        while let word = words.first {
            words.removeFirst()
            switch word {
            case "ack": first.ack = try number(words.popFirst() ?? "")
            case "win": first.window = try bound(words.popFirst() ?? "")
            case "urg": first.urgent = try integer(words.popFirst() ?? "")
            default:
                guard word.first == "<" else { throw error("'\(word)' in a segment") }
                let text = ([word] + words).joined(separator: " ")
                guard text.last == ">" else { throw error("options end with '>'") }
                words = []
                first.options = try options(text.dropFirst().dropLast())
            }
        }
        guard first.flags.contains(.ack) == (first.ack != nil) else { throw error("'.' and 'ack N' go together") }
        guard first.flags.contains(.urg) == (first.urgent > 0) else { throw error("'U' and 'urg N' go together") }
        return (0..<count).map { i in
            var segment = first
            // `@` moves by itself.
            if !segment.sequence.isNext { segment.sequence.offset += i * first.length }
            if first.urgent > 0 { segment.urgent -= i * first.length }
            return segment
        }
    }

    private func flags(_ word: Substring) throws(ScriptError) -> TCPFlags {
        var flags: TCPFlags = []
        for letter in word {
            switch letter {
            case "S": flags.insert(.syn)
            case "F": flags.insert(.fin)
            case "R": flags.insert(.rst)
            case "P": flags.insert(.psh)
            case "U": flags.insert(.urg)
            case "E": flags.insert(.ece)
            case "W": flags.insert(.cwr)
            case ".": flags.insert(.ack)
            case "-" where word.count == 1: break
            default: throw error("'\(letter)' is no flag")
            }
        }
        guard !word.isEmpty else { throw error("a segment begins with its flags") }
        return flags
    }

    private func range(_ word: Substring) throws(ScriptError) -> (ScriptNumber, Int) {
        guard let colon = word.firstIndex(of: ":"), let open = word.firstIndex(of: "("), word.last == ")", colon < open
        else { throw error("'\(word)' is not SEQ:END(LENGTH)") }
        let start = try number(word[..<colon])
        let end = try number(word[word.index(after: colon)..<open])
        let length = try integer(word[word.index(after: open)...].dropLast())
        guard start.isNext == end.isNext, end.offset - start.offset == length, length >= 0 else {
            throw error("'\(word)': the length does not fit")
        }
        return (start, length)
    }

    private func options(_ text: Substring) throws(ScriptError) -> ScriptOptions {
        var options = ScriptOptions()
        for item in text.split(separator: ",") {
            var words = item.split(separator: " ")[...]
            switch words.popFirst() ?? "" {
            case "nop": break
            case "mss": options.mss = try integer(words.popFirst() ?? "")
            case "sackOK": options.sackPermitted = true
            case "wscale":
                let word = words.popFirst() ?? ""
                options.windowScale = .some(word == "*" ? nil : try integer(word))
            case "TS":
                let form = Array(words)
                guard form.count == 4, form[0] == "val", form[2] == "ecr" else { throw error("'TS val N ecr N'") }
                words = []
                options.timestamps = (try stamp(form[1]), try stamp(form[3]))
            case "sack":
                for word in words {
                    guard let colon = word.firstIndex(of: ":") else { throw error("'sack LEFT:RIGHT'") }
                    options.sacks.append(
                        (try number(word[..<colon]), try number(word[word.index(after: colon)...])))
                }
                words = []
            case let kind: throw error("'\(kind)' is no option")
            }
            guard words.isEmpty else { throw error("'\(item)' is too much for an option") }
        }
        return options
    }

    private func stamp(_ word: Substring) throws(ScriptError) -> UInt32? {
        if word == "*" { return nil }
        return UInt32(truncatingIfNeeded: try integer(word))
    }
}
