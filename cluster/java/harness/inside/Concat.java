package java.lang.invoke;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.List;
import javacluster.internal.Constants;
import jdk.internal.access.JavaLangAccess;
import jdk.internal.access.SharedSecrets;

/**
 * Links a joining of strings by {@code +} with one small class instead of eight.
 *
 * <p>{@code StringConcatFactory} of JDK 17 puts a method handle together from a dozen others, each a class: 12 ms of
 * processor time for each new shape of an expression. The class that is made here, hidden (JEP 371) and of
 * {@code java.lang}, calls the same methods of {@code StringConcatHelper} with the same values in the same order, so
 * that a program can't tell: not by what it gets, nor by what is thrown, nor by the frames of that.
 */
final class Concat {
    private static final String NAME = "java/lang/Joined";
    private static final String HELPER = "java/lang/StringConcatHelper";
    private static final String STRING = "Ljava/lang/String;";
    private static final int RELEASE = 55;
    private static final int FLAGS = 0x11;  // public and final
    private static final int METHOD_FLAGS = 0x9;  // public and static

    private static final int ACONST_NULL = 0x01;
    private static final int LDC_W = 0x13;
    private static final int LDC2_W = 0x14;
    private static final int ILOAD = 0x15;
    private static final int LLOAD = 0x16;
    private static final int FLOAD = 0x17;
    private static final int DLOAD = 0x18;
    private static final int ALOAD = 0x19;
    private static final int LSTORE = 0x37;
    private static final int ASTORE = 0x3a;
    private static final int ARETURN = 0xb0;
    private static final int INVOKESTATIC = 0xb8;

    private static final JavaLangAccess ACCESS = SharedSecrets.getJavaLangAccess();
    private static final int HIDDEN = MethodHandleNatives.Constants.HIDDEN_CLASS;

    private final Constants constants = new Constants();
    private final ByteArrayOutputStream code = new ByteArrayOutputStream();

    private Concat() {}

    /** Stands before {@code StringConcatFactory.generateMHInlineCopy}, which gets what it does as well itself. */
    static MethodHandle link(MethodType type, List<String> elements) {
        int size = elements.size();
        boolean references = !type.hasPrimitives();
        boolean quick = size == 1 || size == 2 && (hasEmpty(elements) || references && type.parameterCount() == 2);
        if (!quick) {
            MethodType erased = type.erase().changeReturnType(String.class);
            try {
                byte[] bytes = new Concat().classOf(erased, elements, size == 2 && references);
                Class<?> made = ACCESS.defineClass(null, String.class, NAME, bytes, null, true, HIDDEN, null);
                return MethodHandles.Lookup.IMPL_LOOKUP.findStatic(made, "join", erased);
            } catch (IOException | ReflectiveOperationException tooLong) {
                // a constant of more than a class file can hold
            }
        }
        return StringConcatFactory.generateMHInlineCopy(type, elements);
    }

    private static boolean hasEmpty(List<String> elements) {
        return "".equals(elements.get(0)) || "".equals(elements.get(1));
    }

    private byte[] classOf(MethodType type, List<String> elements, boolean simple) throws IOException {
        Class<?>[] kinds = type.parameterArray();
        int[] slots = new int[kinds.length];
        int free = 0;
        for (int i = 0; i < kinds.length; i++) {
            slots[i] = free;
            free += kinds[i] == long.class || kinds[i] == double.class ? 2 : 1;
        }
        if (simple) {
            simple(elements);
        } else {
            asText(kinds, slots);
            join(kinds, slots, elements, free);
        }
        code.write(ARETURN);
        return file(type.toMethodDescriptorString(), free + 3);
    }

    /** A constant and a reference, in either order. */
    private void simple(List<String> elements) throws IOException {
        for (String constant : elements) {
            if (constant == null) {
                load(ALOAD, 0);
            } else {
                load(constant);
            }
        }
        call(HELPER, "simpleConcat", "(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/String;");
    }

    /** References and what has a point become text, from left to right. */
    private void asText(Class<?>[] kinds, int[] slots) throws IOException {
        for (int i = 0; i < kinds.length; i++) {
            Class<?> kind = kinds[i];
            if (kind == Object.class) {
                load(ALOAD, slots[i]);
                call(HELPER, "stringOf", "(Ljava/lang/Object;)Ljava/lang/String;");
            } else if (kind == float.class) {
                load(FLOAD, slots[i]);
                call("java/lang/String", "valueOf", "(F)Ljava/lang/String;");
            } else if (kind == double.class) {
                load(DLOAD, slots[i]);
                call("java/lang/String", "valueOf", "(D)Ljava/lang/String;");
            } else {
                continue;
            }
            load(ASTORE, slots[i]);
            kinds[i] = String.class;
        }
    }

    /** Length and coder of all, an array of that size, and the parts written into it from its end. */
    private void join(Class<?>[] kinds, int[] slots, List<String> elements, int free) throws IOException {
        String[] prefixes = new String[kinds.length];
        String suffix = null;
        long coder = ACCESS.stringConcatInitialCoder();
        int at = 0;
        for (String constant : elements) {
            if (constant == null) {
                prefixes[at++] = suffix;
                suffix = null;
            } else {
                coder = ACCESS.stringConcatMix(coder, constant);
                suffix = constant;
            }
        }
        if (suffix != null) {
            coder -= suffix.length();
        }
        int array = free + 2;
        indexed(LDC2_W, constants.number(coder));
        for (int i = kinds.length - 1; i >= 0; i--) {
            load(kinds[i], slots[i]);
            call(HELPER, "mix", "(J".concat(kinds[i].descriptorString()).concat(")J"));
        }
        load(LSTORE, free);
        if (suffix != null) {
            load(suffix);
        }
        load(LLOAD, free);
        call(HELPER, suffix == null ? "newArray" : "newArrayWithSuffix",
                suffix == null ? "(J)[B" : "(Ljava/lang/String;J)[B");
        load(ASTORE, array);
        load(LLOAD, free);
        for (int i = kinds.length - 1; i >= 0; i--) {
            load(ALOAD, array);
            load(kinds[i], slots[i]);
            if (prefixes[i] == null) {
                code.write(ACONST_NULL);
            } else {
                load(prefixes[i]);
            }
            call(HELPER, "prepend", "(J[B".concat(kinds[i].descriptorString()).concat(STRING).concat(")J"));
        }
        load(LSTORE, free);
        load(ALOAD, array);
        load(LLOAD, free);
        call(HELPER, "newString", "([BJ)Ljava/lang/String;");
    }

    private void load(Class<?> kind, int slot) {
        load(kind == String.class ? ALOAD : kind == long.class ? LLOAD : ILOAD, slot);
    }

    private void load(String constant) throws IOException {
        indexed(LDC_W, constants.string(constant));
    }

    /** Or store: an instruction about a local variable; there are at most 203. */
    private void load(int instruction, int slot) {
        code.write(instruction);
        code.write(slot);
    }

    private void call(String owner, String name, String descriptor) throws IOException {
        indexed(INVOKESTATIC, constants.method(constants.type(owner), name, descriptor));
    }

    private void indexed(int instruction, int index) {
        code.write(instruction);
        code.write(index >> 8);
        code.write(index);
    }

    /** The class file (JVMS 4) with one method. */
    private byte[] file(String descriptor, int locals) throws IOException {
        int own = constants.type(NAME);
        int parent = constants.type("java/lang/Object");
        int name = constants.text("join");
        int kind = constants.text(descriptor);
        int attribute = constants.text("Code");
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeInt(0xcafebabe);
        out.writeInt(RELEASE);
        constants.writeTo(out);
        for (int part : new int[] {FLAGS, own, parent, 0, 0, 1, METHOD_FLAGS, name, kind, 1, attribute}) {
            out.writeShort(part);
        }
        out.writeInt(12 + code.size());
        out.writeShort(6);
        out.writeShort(locals);
        out.writeInt(code.size());
        code.writeTo(out);
        out.writeInt(0);  // no handlers, no attributes
        out.writeShort(0);
        return bytes.toByteArray();
    }
}
