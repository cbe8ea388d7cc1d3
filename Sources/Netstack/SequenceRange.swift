import Wire

/// A stretch of sequence space, `right` not included.
struct SequenceRange: BitwiseCopyable, Equatable {
    var left: SequenceNumber
    var right: SequenceNumber
}
