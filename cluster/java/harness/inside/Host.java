package javacluster.internal;

import java.io.FileDescriptor;
import jdk.internal.access.SharedSecrets;
import jdk.internal.misc.Unsafe;

/** What the launcher needs of the JDK and is not offered, for one that stands inside {@code java.base}. */
final class Host {
    private static final int NESTMATE = 1;  // of the virtual machine: MethodHandleNatives.Constants
    private static final int HIDDEN = 2;

    private Host() {}

    /** The descriptor of a file that is open already. */
    static FileDescriptor descriptor(int number) {
        FileDescriptor descriptor = new FileDescriptor();
        SharedSecrets.getJavaIOFileDescriptorAccess().set(descriptor, number);
        return descriptor;
    }

    /** An object of the class in these bytes: hidden, of the type's nest, and no constructor is called. */
    static Object made(Class<?> type, String name, byte[] bytes) throws ReflectiveOperationException {
        Class<?> hidden = SharedSecrets.getJavaLangAccess()
                .defineClass(type.getClassLoader(), type, name, bytes, null, false, HIDDEN | NESTMATE, null);
        return Unsafe.getUnsafe().allocateInstance(hidden);
    }
}
