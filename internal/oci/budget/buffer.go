package budget

import "io"

// Block is by how much a Buffer grows, in bytes. The first block is not counted: small answers are always given.
const Block = 64 << 10

// Buffer is an answer that is built in memory within a Budget. What was written is not copied again when it grows.
type Buffer struct {
	hold   *Hold
	blocks [][]byte
}

// NewBuffer makes an empty Buffer, whose memory is given back with the Hold.
func NewBuffer(h *Hold) *Buffer { return &Buffer{hold: h} }

// Write implements io.Writer. It returns ErrFull where the memory is in use, without waiting: whoever writes may have
// a connection of the database.
func (b *Buffer) Write(p []byte) (int, error) { return write(b, p) }

// WriteString implements io.StringWriter, with the error of Write.
func (b *Buffer) WriteString(s string) (int, error) { return write(b, s) }

func write[T []byte | string](b *Buffer, text T) (written int, err error) {
	for written < len(text) {
		last := len(b.blocks) - 1
		if last < 0 || len(b.blocks[last]) == Block {
			if err := b.grow(); err != nil {
				return written, err
			}
			last++
		}
		n := min(len(text)-written, Block-len(b.blocks[last]))
		b.blocks[last] = append(b.blocks[last], text[written:written+n]...)
		written += n
	}
	return written, nil
}

func (b *Buffer) grow() error {
	if len(b.blocks) == 0 {
		b.blocks = append(b.blocks, nil) // many answers are far smaller than a block
		return nil
	}
	if err := b.hold.TryGrow(Block); err != nil {
		return err
	}
	b.blocks = append(b.blocks, make([]byte, 0, Block))
	return nil
}

// Len is how many bytes were written.
func (b *Buffer) Len() int {
	n := 0
	for _, block := range b.blocks {
		n += len(block)
	}
	return n
}

// WriteTo implements io.WriterTo. It may be called again.
func (b *Buffer) WriteTo(w io.Writer) (n int64, err error) {
	for _, block := range b.blocks {
		written, err := w.Write(block)
		n += int64(written)
		if err != nil {
			return n, err //nolint:wrapcheck // that of the writer, as io.WriterTo has it
		}
	}
	return n, nil
}
