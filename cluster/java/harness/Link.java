package javacluster.internal;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodHandles.Lookup;
import java.lang.invoke.MethodType;
import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.function.Function;
import jdk.internal.vm.annotation.Hidden;

/**
 * Calls a program's first method with no frame of ours in its stack traces (P4), and with little work.
 *
 * <p>Reflection would show. A method handle does not, but the first of them costs a virtual machine 4 ms of its
 * 10 ms for a hello: it makes three classes. So one is made here, of few constants and instructions: hidden
 * (JEP 371), which keeps its frames out of stack traces, and of the program's nest (JEP 181), so that it may call
 * whatever the program itself may. Method handles serve for what it may not: a method inherited across packages.
 */
final class Link {
    private static final String NAME = "Entry";
    private static final String ROLE = "java/util/function/Function";
    private static final String APPLY = "(Ljava/lang/Object;)Ljava/lang/Object;";
    private static final int RELEASE = 55;  // JDK 11, where nests began
    private static final int PUBLIC = Modifier.PUBLIC;
    private static final int SUPER = 0x20;

    private static final int ACONST_NULL = 0x01;
    private static final int ALOAD_0 = 0x2a;
    private static final int ALOAD_1 = 0x2b;
    private static final int CHECKCAST = 0xc0;
    private static final int DUP = 0x59;
    private static final int ARETURN = 0xb0;
    private static final int RETURN = 0xb1;
    private static final int INVOKEVIRTUAL = 0xb6;
    private static final int INVOKESPECIAL = 0xb7;
    private static final int INVOKESTATIC = 0xb8;
    private static final int NEW = 0xbb;

    private static final int UTF8 = 1;
    private static final int CLASS = 7;
    private static final int METHOD = 10;
    private static final int INTERFACE_METHOD = 11;
    private static final int NAME_AND_TYPE = 12;

    private static String made = "";

    private Link() {}

    /** Whether a class of this name was made here. */
    static boolean made(String name) {
        return name.equals(made)
                || name.equals(Handled.class.getName())
                || name.startsWith("java.lang.invoke.LambdaForm");
    }

    /** To the original's contract: a public constructor without parameters, and {@code run()}. */
    static Function<Object, Object> toRun(Class<?> type) throws ReflectiveOperationException {
        Constructor<?> constructor = type.getConstructor();
        Method run = type.getMethod("run");
        if (run.getReturnType() == String.class) {
            return made(type, run);
        }
        constructor.setAccessible(true);
        run.setAccessible(true);
        MethodHandle object = MethodHandles.lookup().unreflectConstructor(constructor);
        MethodHandle called = MethodHandles.lookup().unreflect(run).asType(MethodType.methodType(Object.class, type));
        return handled(MethodHandles.filterReturnValue(object, called));
    }

    /** To {@code main}, also in the shorter forms of newer JDKs. */
    static Function<Object, Object> toMain(Class<?> type) throws ReflectiveOperationException {
        Method main = declared(type, String[].class);
        main = main == null ? declared(type) : main;
        if (main == null) {
            throw new NoSuchMethodException(type.getName().concat(".main"));
        }
        boolean near = main.getDeclaringClass().getPackageName().equals(type.getPackageName());
        if (near || Modifier.isPublic(main.getModifiers())) {
            return made(type, main);
        }
        main.setAccessible(true);
        MethodHandle handle = MethodHandles.lookup().unreflect(main).asFixedArity();
        if (!Modifier.isStatic(main.getModifiers())) {
            Constructor<?> constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            MethodHandle object = MethodHandles.lookup().unreflectConstructor(constructor);
            MethodType exact = handle.type().changeParameterType(0, type);
            handle = MethodHandles.collectArguments(handle.asType(exact), 0, object);
        }
        return handled(handle);
    }

    /** As plain java looks for it: in the class and then in those that it extends, and no private one. */
    private static Method declared(Class<?> type, Class<?>... parameters) {
        for (Class<?> at = type; at != null; at = at.getSuperclass()) {
            try {
                Method found = at.getDeclaredMethod("main", parameters);
                if (!Modifier.isPrivate(found.getModifiers()) && found.getReturnType() == void.class) {
                    return found;
                }
            } catch (NoSuchMethodException next) {
                // perhaps inherited
            }
        }
        return null;
    }

    private static Function<Object, Object> handled(MethodHandle handle) {
        if (handle.type().parameterCount() == 0) {
            handle = MethodHandles.dropArguments(handle, 0, String[].class);
        }
        return new Handled(handle.asType(MethodType.methodType(Object.class, String[].class)));
    }

    private record Handled(MethodHandle handle) implements Function<Object, Object> {
        @Override
        @Hidden
        public Object apply(Object arguments) {
            try {
                return (Object) handle.invokeExact((String[]) arguments);
            } catch (Throwable failure) {
                throw Handled.<RuntimeException>same(failure);
            }
        }

        /** Throws it as it is, whatever the compiler has to say. */
        @SuppressWarnings("unchecked")
        private static <T extends Throwable> T same(Throwable failure) throws T {
            throw (T) failure;
        }
    }

    @SuppressWarnings("unchecked")
    private static Function<Object, Object> made(Class<?> type, Method method) throws ReflectiveOperationException {
        byte[] bytes;
        try {
            bytes = classOf(type, method);
        } catch (IOException impossible) {
            throw new AssertionError(impossible);  // in memory
        }
        Lookup lookup = Host.lookup(type);
        Class<?> hidden = lookup.defineHiddenClass(bytes, false, Lookup.ClassOption.NESTMATE).lookupClass();
        made = hidden.getName();
        return (Function<Object, Object>) hidden.getConstructor().newInstance();
    }

    /** The class file (JVMS 4) of {@code class Entry implements Function}, which calls that method of that type. */
    private static byte[] classOf(Class<?> type, Method method) throws IOException {
        String target = type.getName().replace('.', '/');
        String descriptor = (method.getParameterCount() == 0 ? "()" : "([Ljava/lang/String;)")
                .concat(method.getReturnType() == void.class ? "V" : "Ljava/lang/String;");
        Constants constants = new Constants();
        int own = constants.type(target.substring(0, target.lastIndexOf('/') + 1).concat(NAME));
        int parent = constants.type("java/lang/Object");
        int role = constants.type(ROLE);
        int strings = constants.type("[Ljava/lang/String;");
        int parentMade = constants.method(METHOD, parent, "<init>", "()V");
        int callee = constants.type(target);
        int calleeMade = constants.method(METHOD, callee, "<init>", "()V");
        int kind = type.isInterface() ? INTERFACE_METHOD : METHOD;
        int called = constants.method(kind, callee, method.getName(), descriptor);
        int[] tail = method.getReturnType() == void.class ? new int[] {ACONST_NULL, ARETURN} : new int[] {ARETURN};
        int[] given = method.getParameterCount() == 0 ? new int[0] : new int[] {ALOAD_1, CHECKCAST, strings >> 8, strings};
        boolean fixed = Modifier.isStatic(method.getModifiers());
        int[] object = fixed
                ? new int[0]
                : new int[] {NEW, callee >> 8, callee, DUP, INVOKESPECIAL, calleeMade >> 8, calleeMade};
        int[] call = {fixed ? INVOKESTATIC : INVOKEVIRTUAL, called >> 8, called};
        byte[] construct = method(constants, "<init>", "()V", 1, new int[][] {
            {ALOAD_0, INVOKESPECIAL, parentMade >> 8, parentMade, RETURN}
        });
        byte[] apply = method(constants, "apply", APPLY, 2, new int[][] {object, given, call, tail});

        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeInt(0xcafebabe);
        out.writeInt(RELEASE);
        constants.writeTo(out);
        for (int part : new int[] {PUBLIC | SUPER, own, parent, 1, role, 0, 2}) {
            out.writeShort(part);
        }
        out.write(construct);
        out.write(apply);
        out.writeShort(0);
        return bytes.toByteArray();
    }

    private static byte[] method(Constants constants, String name, String descriptor, int locals, int[][] code)
            throws IOException {
        int nameAt = constants.text(name);
        int descriptorAt = constants.text(descriptor);
        int attribute = constants.text("Code");
        int length = 0;
        for (int[] part : code) {
            length += part.length;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        for (int part : new int[] {PUBLIC, nameAt, descriptorAt, 1, attribute}) {
            out.writeShort(part);
        }
        out.writeInt(12 + length);
        out.writeShort(2);
        out.writeShort(locals);
        out.writeInt(length);
        for (int[] part : code) {
            for (int instruction : part) {
                out.writeByte(instruction);
            }
        }
        out.writeInt(0);  // no handlers, no attributes
        return bytes.toByteArray();
    }

    /** A constant pool (JVMS 4.4); an entry may be there twice. */
    private static final class Constants {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private final DataOutputStream out = new DataOutputStream(bytes);
        private int count;

        int text(String value) throws IOException {
            out.writeByte(UTF8);
            out.writeUTF(value);
            return ++count;
        }

        int type(String name) throws IOException {
            return pair(CLASS, text(name), 0);
        }

        int method(int kind, int owner, String name, String descriptor) throws IOException {
            return pair(kind, owner, pair(NAME_AND_TYPE, text(name), text(descriptor)));
        }

        private int pair(int kind, int one, int other) throws IOException {
            out.writeByte(kind);
            out.writeShort(one);
            if (kind != CLASS) {
                out.writeShort(other);
            }
            return ++count;
        }

        void writeTo(DataOutputStream target) throws IOException {
            target.writeShort(count + 1);
            bytes.writeTo(target);
        }
    }
}
