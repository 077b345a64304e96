package javacluster.internal;

import com.sun.tools.javac.api.ClientCodeWrapper;
import com.sun.tools.javac.util.Context;
import com.sun.tools.javac.util.Log;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringWriter;
import java.io.Writer;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import javax.lang.model.element.Modifier;
import javax.lang.model.element.NestingKind;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticListener;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardLocation;
import javax.tools.ToolProvider;

/**
 * Compiles what arrives on standard input and answers on standard output; it never runs any of it (J1).
 *
 * <p>A request is four bytes of length and a payload: a number, and sources as pairs of name and text. The answer
 * has the same number, how it went, the diagnostics, and the classes. Sources and classes live in memory; the
 * class path and the source path are empty, so that a source reaches the JDK and itself, and nothing else.
 *
 * <p>The compiler's context, with the JDK's classes already read, is used again for the next compilation, where that
 * is safe ({@link Warm}). What fails in one that has seen other sources is compiled once more in another that has
 * not, and that is the answer: so nothing that one source leaves makes another fail. Two are made ready in
 * advance, while nobody waits.
 */
public final class Compiler {
    private static final int REQUEST_MAX = 64 << 20;
    private static final int CLASSES_MAX = 2000;
    private static final int CLASSES_BYTES_MAX = 24 << 20;
    private static final int DIAGNOSTICS_MAX = 100;
    private static final int MESSAGE_MAX = 4096;
    private static final int TEXT_MAX = 64 << 10;
    private static final int SUMMARY_MAX = 64;
    private static final long STACK_BYTES = 4L << 20;
    private static final long AGAIN_MAX_NS = 2_000_000_000L;

    /** Exit status; 3 is the machine's own, when its heap is full (flags.py). */
    private static final int BROKEN = 4;

    private static final String NO_MEMORY = "the compiler ran out of memory on this source";
    private static final String NO_STACK = "the compiler ran out of stack: the source nests too deeply";

    private static final byte SUCCEEDED = 0;
    private static final byte FAILED = 1;
    private static final byte CRASHED = 2;

    private final JavaCompiler javac = ToolProvider.getSystemJavaCompiler();
    private final JavaFileManager platform =
            javac.getStandardFileManager(null, Locale.ROOT, StandardCharsets.UTF_8);
    private final Memory files = new Memory(platform);
    private Warm warm = new Warm();
    private Warm spare = new Warm();

    private Compiler() {}

    public static void main(String[] argv) throws Exception {
        DataInputStream in =
                new DataInputStream(new BufferedInputStream(new FileInputStream(FileDescriptor.in), 65536));
        DataOutputStream out =
                new DataOutputStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 65536));
        Thread thread = new Thread(null, () -> serve(in, out), "compiler", STACK_BYTES);
        thread.start();
    }

    private static void serve(DataInputStream in, DataOutputStream out) {
        try {
            Compiler compiler = new Compiler();
            while (true) {
                while (in.available() == 0 && compiler.prepare()) {
                    // one at a time: somebody may have asked meanwhile
                }
                int length;
                try {
                    length = in.readInt();
                } catch (EOFException end) {
                    return;
                }
                if (length < 0 || length > REQUEST_MAX) {
                    Runtime.getRuntime().halt(2);
                }
                byte[] request = new byte[length];
                in.readFully(request);
                byte[] answer = compiler.answer(request);
                out.writeInt(answer.length);
                out.write(answer);
                out.flush();
            }
        } catch (Throwable broken) {
            broken.printStackTrace();
            Runtime.getRuntime().halt(BROKEN);
        }
    }

    private byte[] answer(byte[] request) throws IOException {
        DataInputStream in = new DataInputStream(new ByteArrayInputStream(request));
        int number = in.readInt();
        List<String[]> texts = new ArrayList<>();
        for (int count = in.readInt(); count > 0; count--) {
            texts.add(new String[] {text(in), text(in)});
        }
        boolean seen = warm.seen();
        long began = System.nanoTime();
        Compilation compilation = new Compilation(texts);
        byte status = compilation.perform(warm);
        if (status != SUCCEEDED && seen && System.nanoTime() - began < AGAIN_MAX_NS) {
            warm = new Warm();
            swap();
            compilation = new Compilation(texts);
            status = compilation.perform(warm);
        }
        if (!warm.kept()) {
            warm = new Warm();
            swap();
        }
        return compilation.encode(number, status);
    }

    /** What is ready goes first. */
    private void swap() {
        Warm other = spare;
        spare = warm;
        warm = other;
    }

    /** Gets the next context ready; false: all are. */
    private boolean prepare() {
        Warm next = warm.cold() ? warm : spare;
        if (!next.cold()) {
            return false;
        }
        files.owner = new Compilation(List.of());
        next.prime(new BoundedWriter(), files);
        return true;
    }

    private static String text(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static void write(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    private static String cut(String text, int most) {
        return text.length() <= most ? text : text.substring(0, most);
    }

    /** One compilation: its sources, and everything that came of it. */
    private final class Compilation implements DiagnosticListener<JavaFileObject> {
        private final List<Source> sources = new ArrayList<>();
        private final List<Diagnostic<? extends JavaFileObject>> diagnostics = new ArrayList<>();
        private final List<String> messages = new ArrayList<>();
        private final List<Output> outputs = new ArrayList<>();
        private final StringBuilder rendered = new StringBuilder();
        private final BoundedWriter log = new BoundedWriter();
        private int errors;
        private boolean success;
        private int bytes;
        private String crash = "";
        private Context context;

        /** Of pairs of name and text. */
        Compilation(List<String[]> texts) {
            for (String[] text : texts) {
                sources.add(new Source(text[0], text[1]));
            }
        }

        /**
         * Tells how it went. An OutOfMemoryError is met only where a library throws it by itself, for what is larger
         * than any array or string: when the heap is full the machine ends at once, and the node says so.
         */
        byte perform(Warm warm) {
            try {
                files.owner = this;
                int length = sources.stream().mapToInt(source -> source.text.length()).sum();
                success = warm.compile(log, files, this, sources, length, met -> context = met);
            } catch (OutOfMemoryError | StackOverflowError exhausted) {
                crash = exhausted instanceof OutOfMemoryError ? NO_MEMORY : NO_STACK;
            } catch (RuntimeException | AssertionError bug) {
                crash = cut("the compiler crashed: " + bug, MESSAGE_MAX);
            }
            if (crash.isEmpty() && success) {
                return SUCCEEDED;
            }
            if (crash.isEmpty() && errors > 0) {
                return FAILED;
            }
            if (crash.isEmpty()) {
                String said = log.toString();
                crash = said.contains("StackOverflowError")
                        ? NO_STACK
                        : said.contains("OutOfMemoryError")
                                ? NO_MEMORY
                                : "the compiler gave up: " + said.lines().findFirst().orElse("it did not say why");
            }
            return CRASHED;
        }

        @Override
        public void report(Diagnostic<? extends JavaFileObject> diagnostic) {
            if (diagnostic.getKind() == Diagnostic.Kind.ERROR) {
                errors++;
                makeRoom();
            }
            if (diagnostics.size() < DIAGNOSTICS_MAX) {
                messages.add(cut(message(diagnostic), MESSAGE_MAX));
                diagnostics.add(diagnostic);
            }
            if (rendered.length() < TEXT_MAX) {
                rendered.append(cut(text(diagnostic), TEXT_MAX)).append('\n');
            }
        }

        /** However many warnings there are, an error is told. */
        private void makeRoom() {
            if (diagnostics.size() < DIAGNOSTICS_MAX) {
                return;
            }
            for (int at = diagnostics.size() - 1; at >= 0; at--) {
                if (diagnostics.get(at).getKind() != Diagnostic.Kind.ERROR) {
                    diagnostics.remove(at);
                    messages.remove(at);
                    return;
                }
            }
        }

        /** As the command prints it: with simple names where these are clear. */
        private String text(Diagnostic<? extends JavaFileObject> diagnostic) {
            return diagnostic instanceof ClientCodeWrapper.DiagnosticSourceUnwrapper wrapped && context != null
                    ? Log.instance(context).getDiagnosticFormatter().format(wrapped.d, Locale.ROOT)
                    : diagnostic.toString();
        }

        private String message(Diagnostic<? extends JavaFileObject> diagnostic) {
            return diagnostic instanceof ClientCodeWrapper.DiagnosticSourceUnwrapper wrapped && context != null
                    ? Log.instance(context).getDiagnosticFormatter().formatMessage(wrapped.d, Locale.ROOT)
                    : diagnostic.getMessage(Locale.ROOT);
        }

        /** However long the diagnostics are, how many there are is told. */
        private void makeRoomForSummary() {
            if (rendered.length() > TEXT_MAX - SUMMARY_MAX) {
                rendered.setLength(TEXT_MAX - SUMMARY_MAX);
                rendered.append('\n');
            }
        }

        private void summary(int count, String word) {
            if (count > 0) {
                rendered.append(count).append(' ').append(word).append(count == 1 ? "\n" : "s\n");
            }
        }

        byte[] encode(int number, byte status) throws IOException {
            ByteArrayOutputStream buffer = new ByteArrayOutputStream(16384);
            DataOutputStream out = new DataOutputStream(buffer);
            out.writeInt(number);
            out.writeByte(status);
            write(out, cut(crash, MESSAGE_MAX));
            out.writeInt(diagnostics.size());
            int warnings = 0;
            Iterator<String> messages = this.messages.iterator();
            for (Diagnostic<? extends JavaFileObject> diagnostic : diagnostics) {
                boolean error = diagnostic.getKind() == Diagnostic.Kind.ERROR;
                warnings += error || diagnostic.getKind() == Diagnostic.Kind.NOTE ? 0 : 1;
                JavaFileObject source = diagnostic.getSource();
                write(out, source == null ? "" : cut(source.getName(), MESSAGE_MAX));
                out.writeInt((int) Math.max(0, diagnostic.getLineNumber()));
                out.writeInt((int) Math.max(0, diagnostic.getColumnNumber()));
                write(out, diagnostic.getKind().name().toLowerCase(Locale.ROOT));
                write(out, diagnostic.getCode() == null ? "" : diagnostic.getCode());
                write(out, messages.next());
            }
            makeRoomForSummary();
            summary(errors, "error");
            summary(warnings, "warning");
            write(out, rendered.toString());
            List<Output> kept = status == SUCCEEDED ? outputs : List.of();
            out.writeInt(kept.size());
            for (Output output : kept) {
                write(out, output.name);
                out.writeInt(output.content.size());
                output.content.writeTo(out);
            }
            return buffer.toByteArray();
        }

        OutputStream open(Output output) throws IOException {
            if (outputs.size() == CLASSES_MAX) {
                throw new IOException("a program has at most " + CLASSES_MAX + " classes, nested ones included");
            }
            outputs.add(output);
            return new OutputStream() {
                @Override
                public void write(int b) throws IOException {
                    grow(1);
                    output.content.write(b);
                }

                @Override
                public void write(byte[] b, int offset, int length) throws IOException {
                    grow(length);
                    output.content.write(b, offset, length);
                }

                private void grow(int by) throws IOException {
                    bytes += by;
                    if (bytes > CLASSES_BYTES_MAX) {
                        throw new IOException("the classes are larger than " + CLASSES_BYTES_MAX + " bytes");
                    }
                }
            };
        }
    }

    /** A source in memory. One that came without a name takes that of the public class that is found in it. */
    private static final class Source extends SimpleJavaFileObject {
        private final String text;
        private String name;
        private final boolean named;

        Source(String name, String text) {
            super(uri("Main.java"), JavaFileObject.Kind.SOURCE);
            this.text = text;
            this.named = !name.isEmpty();
            this.name = named ? name : "Main.java";
        }

        private static URI uri(String name) {
            try {
                return new URI("memory", null, "/" + name, null);
            } catch (URISyntaxException strange) {
                return URI.create("memory:///Source.java");
            }
        }

        @Override
        public URI toUri() {
            return uri(name);
        }

        @Override
        public String getName() {
            return name;
        }

        @Override
        public boolean isNameCompatible(String simpleName, Kind kind) {
            if (named) {
                return kind == Kind.SOURCE && name.substring(name.lastIndexOf('/') + 1).equals(simpleName + ".java");
            }
            if (!simpleName.equals("package-info") && !simpleName.equals("module-info")) {
                name = simpleName + ".java";
            }
            return kind == Kind.SOURCE;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }

        @Override
        public NestingKind getNestingKind() {
            return null;
        }

        @Override
        public Modifier getAccessLevel() {
            return null;
        }
    }

    /** A class file in memory. */
    private static final class Output extends SimpleJavaFileObject {
        private final String name;
        private final ByteArrayOutputStream content = new ByteArrayOutputStream();
        private final Compilation owner;

        Output(String name, Compilation owner) {
            super(Source.uri(name + ".class"), Kind.CLASS);
            this.name = name;
            this.owner = owner;
        }

        @Override
        public OutputStream openOutputStream() throws IOException {
            return owner.open(this);
        }

        @Override
        public InputStream openInputStream() {
            return new ByteArrayInputStream(content.toByteArray());
        }
    }

    /**
     * Shows javac the JDK's own modules and nothing of the host's; takes its classes. There is one for all
     * compilations, because a context that is used again remembers the first that it saw.
     */
    private static final class Memory extends ForwardingJavaFileManager<JavaFileManager> {
        private Compilation owner;

        Memory(JavaFileManager platform) {
            super(platform);
        }

        private static boolean ofJdk(Location location) {
            return location == StandardLocation.SYSTEM_MODULES
                    || location == StandardLocation.PLATFORM_CLASS_PATH
                    || !(location instanceof StandardLocation);
        }

        @Override
        public Iterable<JavaFileObject> list(
                Location location, String packageName, Set<JavaFileObject.Kind> kinds, boolean recurse)
                throws IOException {
            return ofJdk(location) ? super.list(location, packageName, kinds, recurse) : List.of();
        }

        @Override
        public String inferBinaryName(Location location, JavaFileObject file) {
            return file instanceof Output output ? output.name.replace('/', '.') : super.inferBinaryName(location, file);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(
                Location location, String className, JavaFileObject.Kind kind, FileObject sibling) {
            return new Output(className.replace('.', '/'), owner);
        }

        @Override
        public FileObject getFileForInput(Location location, String packageName, String relativeName)
                throws IOException {
            return ofJdk(location) ? super.getFileForInput(location, packageName, relativeName) : null;
        }

        @Override
        public JavaFileObject getJavaFileForInput(Location location, String className, JavaFileObject.Kind kind)
                throws IOException {
            return ofJdk(location) ? super.getJavaFileForInput(location, className, kind) : null;
        }

        @Override
        public FileObject getFileForOutput(
                Location location, String packageName, String relativeName, FileObject sibling) {
            throw new UnsupportedOperationException("nothing but classes is written");
        }

        @Override
        public boolean hasLocation(Location location) {
            return location == StandardLocation.CLASS_OUTPUT || ofJdk(location) && super.hasLocation(location);
        }

        @Override
        public boolean isSameFile(FileObject one, FileObject other) {
            return one == other || one.toUri().equals(other.toUri());
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    }

    /** What javac prints outside the diagnostics: kept only as far as it is ever looked at. */
    private static final class BoundedWriter extends Writer {
        private final StringWriter kept = new StringWriter();

        @Override
        public void write(char[] text, int offset, int length) {
            int room = TEXT_MAX - kept.getBuffer().length();
            if (room > 0) {
                kept.write(text, offset, Math.min(room, length));
            }
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}

        @Override
        public String toString() {
            return kept.toString();
        }
    }
}
